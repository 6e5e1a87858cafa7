"""`--site` of the commands: a wrong one starts nothing; a right one is part of what continues."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.fake_slurm import FakeSlurm
from helpers.fakes import SALT, FakeLauncher, write_campaign
from phasewalk.batch import JobsLauncher, Slurm
from phasewalk.cluster import SiteSettings, launching
from phasewalk.commands import fes
from phasewalk.commands import site as sites
from phasewalk.errors import OutOfTime

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return write_campaign(tmp_path, SALT)


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "--site lab: no lab.yaml in "),
        ("site: lab\nlabel: {gpu: 1}", "label.gpu: unknown key; did you mean gpus?"),
        ("site: lab\nmode: steps", "no SLURM_JOB_ID"),
    ],
)
def test_a_wrong_site_is_one_line_and_starts_nothing(
    run: Run, campaign: Path, text: str | None, words: str, command: str
) -> None:
    if text is not None:
        campaign.with_name("lab.yaml").write_text(text)
    before = sorted(campaign.parent.iterdir())
    code, out, err = run(command, campaign, "--site", "lab")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert sorted(campaign.parent.iterdir()) == before


def test_a_site_gets_the_folder_of_the_campaign_directory(
    run: Run, campaign: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its temporary folders are there, for nodes that do not see /tmp of this machine."""
    seen: dict[str, Any] = {}
    other = tmp_path / "other"
    other.mkdir()
    campaign.with_name("lab.yaml").write_text("site: lab\nmode: steps")

    def chosen(site: Any, **how: Any) -> FakeLauncher:
        seen.update(how, site=site.site)
        raise OutOfTime("over")

    monkeypatch.setattr(launching, "launcher", chosen)
    code, _, err = run("run", campaign, "--dir", other / "run", "--site", "lab")
    assert (code, err) == (75, "phasewalk: over\n")
    assert (seen["site"], seen["folder"]) == ("lab", other)


def test_a_stopped_run_says_that_jobs_in_the_queue_go_on(
    tmp_path: Path,
) -> None:
    root = tmp_path / "it's.run"
    launcher = JobsLauncher(SiteSettings(site="lab"), FakeSlurm(), root)
    assert sites.stopped(launcher, root, "phasewalk run c.yaml --site lab") == (
        "stopped; no finished work is lost. Continue with: phasewalk run c.yaml --site lab (or "
        "submit instead of run). Jobs in the queue go on; end them with: phasewalk cancel "
        f"{shlex.quote(str(root))}"
    )
    leaving = replace(launcher, leaves=False)
    assert sites.left(leaving, root) == sites.left(FakeLauncher(), root) == ""


@pytest.mark.parametrize("leaves", [True, False])
def test_jobs_that_nobody_takes_over_leave_the_queue(
    campaign: Path, leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of check, gate and evaluate, if the command is stopped."""
    monkeypatch.setattr(Slurm, "check", lambda self: None)  # this machine may have no cluster
    campaign.with_name("lab.yaml").write_text("site: lab\nmode: jobs")
    folder = campaign.parent
    launcher = sites.choose("lab", campaign, cores=None, folder=folder, leaves=leaves)
    assert isinstance(launcher, JobsLauncher)
    assert launcher.leaves == leaves


def test_what_continues_a_free_energy_has_the_site(tmp_path: Path) -> None:
    asked = fes._Asked(
        root=tmp_path, generation=None, segments=3, bins=None, hills=None, seed=None, against=0,
        learn=False, campaign_file=None, trust=True, site="it's",
    )  # fmt: skip
    assert asked.again("2").endswith("--segments 3 --trust --site 'it'\"'\"'s'")
