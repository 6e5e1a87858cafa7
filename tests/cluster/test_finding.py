"""Which file `--site` means, and what is said if there is none or it is wrong."""

from pathlib import Path

import pytest

from helpers.fakes import ROOT
from phasewalk.cluster import SiteSettings, find_site, finding
from phasewalk.errors import InputError
from phasewalk.jobs import Job
from phasewalk.settings_files import parse

EXAMPLES = sorted((ROOT / "examples/sites").glob("*.yaml"))


def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A campaign file, and the user's folder of sites."""
    sites = tmp_path / "config/phasewalk/sites"
    sites.mkdir(parents=True)
    (tmp_path / "work").mkdir()
    return tmp_path / "work/my.yaml", sites


def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": "/nonexistent"}


def test_a_site_is_a_file_or_a_name_beside_the_campaign_or_in_the_users_folder(
    tmp_path: Path,
) -> None:
    campaign, sites = folders(tmp_path)
    (sites / "lab.yaml").write_text("site: users")
    (sites / "other.yml").write_text("site: other")
    given = tmp_path / "a file"
    given.write_text("site: given")
    assert find_site("lab", campaign, env(tmp_path)).site == "users"
    assert find_site("other", campaign, env(tmp_path)).site == "other"
    assert find_site(str(given), campaign, env(tmp_path)).site == "given"
    campaign.with_name("lab.yaml").write_text("site: beside")
    assert find_site("lab", campaign, env(tmp_path)).site == "beside"


def test_without_xdg_the_folder_is_in_the_home() -> None:
    assert finding.places(Path("/a/c.yaml"), {"HOME": "/home/me"}) == [
        Path("/a"),
        Path("/home/me/.config/phasewalk/sites"),
    ]
    assert finding.places(Path("/a/c.yaml"), {}) == [Path("/a")]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("lub", "no lub.yaml in .*/work or .*/phasewalk/sites; did you mean lab?"),
        ("xyz", "no xyz.yaml in .*; copy one of examples/sites"),
        ("./lab.yaml", "no such file"),
        ("", "no such file"),
    ],
)
def test_an_unknown_site_says_where_it_was_sought(asked: str, words: str, tmp_path: Path) -> None:
    campaign, sites = folders(tmp_path)
    (sites / "lab.yaml").write_text("site: lab")
    with pytest.raises(InputError, match=words):
        find_site(asked, campaign, env(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected `key: value` lines"),
        ("mode: steps", "site: is required"),
        ("site: x\nlabl: {}", "labl: unknown key; did you mean label?"),
        ("site: x\nlabel: {partion: a}", "label.partion: unknown key; did you mean partition?"),
        ("site: x\ndefault: {gpus: -1}", r"default.gpus: must be at least 0 \(got -1\)"),
        ("site: x\nlabel: {modules: cp2k}", r"label.modules: must be a list: \[cp2k\]"),
        ("site: x\nlabel: {environment: {A-B: '1'}}", "the name 'A-B': use letters, digits and _"),
        ("site: x\nlabel: {environment: {A: 1}}", "environment.A: must be text; put it in quotes"),
        ('site: x\nlabel: {environment: {plumed: "a\\nb"}}', "invalid character"),
        ('site: x\ndefault: {account: "a\\n#SBATCH -x"}', "invalid character"),
        ("site: x\nscheduler: none\nmode: jobs", "mode: it is of a scheduler"),
        ("site: x\ndriver: {gpus: 4}", "driver.gpus: with mode: jobs"),
        ("site: x\nsegment: {gpus: 1}\ncompile: {gpus: 1}", "evaluate.gpus: it must be at least 1"),
        ("site: x\nsegment: {gpus: 1}", "compile.gpus: it must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        find_site(str(path), tmp_path / "c.yaml", {})
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid_and_named_like_their_files(path: Path) -> None:
    assert find_site(str(path), path, {}).site == path.stem


def test_a_kind_takes_from_default_what_it_does_not_set() -> None:
    text = """
site: x
default: {account: a, gpus: 1, environment: {A: d, B: d}}
train: {gpus: 2, environment: {B: t}}
"""
    site = parse(text, "s", SiteSettings)
    train = site.place_of(Job("t", ("x",), Path("t"), kind="train"))
    assert (train.account, train.gpus, train.environment) == ("a", 2, {"A": "d", "B": "t"})
    assert site.place("label").environment == {"A": "d", "B": "d"}


def test_a_production_takes_from_segment_what_it_does_not_set() -> None:
    text = """
site: x
default: {account: a, time_min: 60, gpus: 1, environment: {A: d}}
segment: {gpus: 4, time_min: 30, environment: {B: s}}
production: {time_min: 1440, nodes: 8, environment: {C: p}}
"""
    place = parse(text, "s", SiteSettings).place("production")
    assert (place.account, place.gpus, place.time_min, place.nodes) == ("a", 4, 1440, 8)
    assert place.environment == {"A": "d", "B": "s", "C": "p"}
