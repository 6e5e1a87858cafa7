"""The documentation: it builds, its links hold, and what it shows exists."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
import jsonschema
import pytest
import typer
from ruamel.yaml import YAML

from helpers.documents import DOCS, LANGUAGES, PAGES, ROOT, Block, blocks, inline_commands, words
from phasewalk.campaign import config, config_reference
from phasewalk.cluster import site_reference
from phasewalk.commands import cli
from phasewalk.producing import reference, settings
from phasewalk.settings_files import parse

BLOCKS = [block for page in PAGES for block in blocks(page)]
EXAMPLES = sorted(ROOT.glob("examples/*/campaign.yaml"))
SITES = sorted(ROOT.glob("examples/sites/*.yaml"))
SMALLEST = {"campaign": "x", "systems": {"x": {"structure": "x.cif"}}}


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def at(value: object) -> str:
    return str(value).replace(str(ROOT), "")


# What is generated.


def test_the_configuration_reference_is_up_to_date() -> None:
    assert (DOCS / "configuration.md").read_text() == config_reference.markdown(), "type: make docs"


def test_the_schema_is_up_to_date() -> None:
    shown = (DOCS / "campaign.schema.json").read_text()
    assert shown == config_reference.schema_text(), "type: make docs"


def test_the_keys_of_a_site_are_up_to_date() -> None:
    assert (DOCS / "site-keys.md").read_text() == site_reference.markdown(), "type: make docs"
    shown = (DOCS / "site.schema.json").read_text()
    assert shown == site_reference.schema_text(), "type: make docs"


def test_the_keys_of_a_production_file_are_up_to_date() -> None:
    assert (DOCS / "production-keys.md").read_text() == reference.markdown(), "type: make docs"
    shown = (DOCS / "production.schema.json").read_text()
    assert shown == reference.schema_text(), "type: make docs"


def test_the_example_of_a_production_file_is_valid_and_has_all_keys() -> None:
    path = ROOT / "examples/mil53_al/production.yaml"
    schema = reference.json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    data = load(path.read_text())
    assert [error.message for error in validator.iter_errors(data)] == []
    for wrong in ({"ranks": 0}, {"supercell": [1, 2]}, {"ensemble": "nve"}, {"lenght_ps": 1}):
        assert not validator.is_valid({**data, **wrong})
    assert set(data) | {"generation", "engines"} == set(schema["properties"])
    assert settings.read(path).supercell == ((2, 0, 0), (0, 2, 0), (0, 0, 2))


def test_each_key_of_a_site_is_described_once() -> None:
    found, text = sorted({key for _, key in keys(site_reference.json_schema())}), ""
    text = site_reference.markdown()
    assert [text.count(f"\n| `{key}` | ") for key in found] == [1] * len(found)
    assert "|  |\n" not in text, "a key without a description"


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_the_schema_of_a_site_accepts_the_examples_and_refuses_mistakes(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(site_reference.json_schema())
    data = load(path.read_text())
    assert [error.message for error in validator.iter_errors(data)] == []
    for wrong in ({"mode": "x"}, {"label": {"gpu": 1}}, {"default": {"environment": {"A-B": "c"}}}):
        assert not validator.is_valid({**data, **wrong})


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(group, key) of all groups that a schema defines."""
    for node in (schema, *schema["$defs"].values()):
        for key in node.get("properties", {}):
            yield str(node["title"]), key


def test_the_reference_has_every_key_with_its_description() -> None:
    schema, text = config_reference.json_schema(), config_reference.markdown()
    found = list(keys(schema))
    assert len(found) > 100
    for group, key in found:
        assert f"\n| `{key}` | " in text, f"{group}.{key}"
    empty = [row for row in text.splitlines() if row.startswith("| `") and row.endswith("|  |")]
    assert empty == [], "a field without a description"
    widths = {row.replace("\\|", "").count("|") for row in text.splitlines() if row[:3] == "| `"}
    assert widths == {6}


def test_the_reference_shows_types_defaults_and_limits() -> None:
    rows = config_reference.markdown().splitlines()
    for start in (
        "| `temperature_K` | number | `300.0` | > 0, ≤ 10000 | Temperature",
        "| `structure` | text | required |  | File with the start structure",
        "| `first` | group | `{epochs: 70, learning_rate: 0.05}` |  | ",
        "| `ensemble` | `nvt` or `npt` | `nvt` |  | ",
        "| `reference` | group | defaults of its keys |  | ",
    ):
        assert sum(row.startswith(start) for row in rows) == 1, start
    assert "## `systems.NAME.temperature_ramp`" in rows
    assert "## `reference.xtb.retries[]`" in rows
    assert "## `model.final.budget`" in rows


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = config_reference.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_schema_accepts_the_examples(path: Path, validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(load(path.read_text()))] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("seeds",), 1),
        (("seed",), "one"),
        (("rounds",), -1),
        (("systems", "mil53_al", "ensemble"), "nve"),
        (("systems", "mil53_al", "wakers"), 4),
        (("segment", "steps"), 0),
        (("model", "preset"), "large"),
        (("reference", "xtb", "method"), "GFN3-xTB"),
        (("systems",), {}),
        (("systems", "mil53_al"), {"walkers": 4}),
        (("systems",), {"a name": {"structure": "x.cif"}}),
    ],
    ids=str,
)
def test_the_schema_refuses_mistakes(place: tuple[str, ...], value: object, validator: Any) -> None:
    data = load((ROOT / "examples/mil53_al/campaign.yaml").read_text())
    node = data
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    assert not validator.is_valid(data)


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation; every warning of the build is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """Links, anchors and loaded files of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loads.append(found["src"])
        elif tag == "link" and found.get("rel") != "canonical":
            self.loads.append(found["href"])


def test_the_site_has_every_page(site: Path) -> None:
    for path in DOCS.glob("*.md"):
        assert (site / f"{path.stem}.html").is_file()


def test_links_and_anchors_of_the_site_exist(site: Path) -> None:
    pages = {path: Page(path) for path in site.glob("*.html") if path.name != "404.html"}
    assert len(pages) >= 10
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{path.name}: {link}")
            anchor = unquote(parts.fragment)
            if anchor and target in pages and anchor not in pages[target].ids:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_the_site_loads_nothing_from_a_network(site: Path) -> None:
    loads = [load for path in site.rglob("*.html") for load in Page(path).loads]
    assert loads
    assert [load for load in loads if urlsplit(load).scheme or load.startswith("//")] == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^\"')]+", styles) == []


def test_links_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        parts = urlsplit(link)
        if not parts.scheme:
            assert (ROOT / parts.path).exists(), link


# Code blocks.


@pytest.mark.parametrize("block", BLOCKS, ids=at)
def test_every_code_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: one of {', '.join(sorted(LANGUAGES))}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=at)
def test_yaml_holds_settings(block: Block) -> None:
    """A whole campaign as it stands; a part of one together with what a campaign must have."""
    if not (data := load(block.text)):
        return  # a comment
    text = block.text
    if "length_ps" in data:
        parse(text, str(block), settings.ProductionSettings)
        return
    if "campaign" not in data:
        missing = {key: value for key, value in SMALLEST.items() if key not in data}
        text += "\n" + "\n".join(f"{key}: {value!r}" for key, value in missing.items())
    config.parse(text, str(block))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=at)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


# Commands.


@pytest.fixture(scope="module")
def app() -> click.Command:
    """The whole command line, as `main` makes it."""
    before, arguments = signal.getsignal(signal.SIGTERM), sys.argv
    sys.argv = ["phasewalk", "--help"]
    with pytest.raises(SystemExit):
        cli.main()
    sys.argv = arguments
    signal.signal(signal.SIGTERM, before)
    return typer.main.get_command(cli.app)


def resolve(command: Any, arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The innermost command that the first words name, and the other words."""
    rest = list(arguments)
    while hasattr(command, "commands") and rest:
        assert rest[0] in command.commands, f"no such command: {' '.join(arguments)}"
        command = command.commands[rest.pop(0)]
    return command, rest


def options(command: Any) -> set[str]:
    found = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return {*found, "--help"}


def shown_whole() -> list[tuple[str, list[str]]]:
    """Commands in code blocks: each as one types it."""
    return [(str(b), one[1:]) for b in BLOCKS for one in words(b.commands)]


def shown_inline() -> list[tuple[str, list[str]]]:
    """Commands in the text, perhaps without their arguments."""
    return [(page.name, one[1:]) for page in PAGES for one in inline_commands(page)]


def test_commands_are_found() -> None:
    assert len(shown_whole()) > 15
    assert len(shown_inline()) > 20


@pytest.mark.parametrize(("where", "arguments"), shown_whole(), ids=str)
def test_commands_in_code_blocks_are_complete(
    where: str, arguments: list[str], app: click.Command
) -> None:
    command, rest = resolve(app, arguments)
    assert not hasattr(command, "commands"), f"{where}: names no command"
    command.make_context(command.name, rest)  # raises where an option or argument does not fit


@pytest.mark.parametrize(("where", "arguments"), shown_inline(), ids=str)
def test_commands_in_the_text_exist(where: str, arguments: list[str], app: click.Command) -> None:
    command, rest = resolve(app, arguments)
    unknown = {word for word in rest if word.startswith("-")} - options(command)
    assert unknown == set(), where
