"""`phasewalk submit` and `cancel` as they are typed: the dry run, and what is refused."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.fake_slurm import FakeSlurm
from helpers.fakes import SALT, write_campaign
from phasewalk import batch, submitted
from phasewalk.store import JOURNAL, LOCK, directory, locking

Run = Callable[..., tuple[int, str, str]]
SITES = Path(__file__).parents[2] / "examples/sites"
KINDS = ("label", "segment", "train", "compile", "evaluate")


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "lab.yaml").write_text("site: lab\ndefault: {partition: cpu, time_min: 60}")
    return write_campaign(folder, SALT)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    made = FakeSlurm(slots=0)
    monkeypatch.setattr(batch, "Slurm", lambda environ: made)
    monkeypatch.setattr(batch, "SystemClock", lambda: made)
    return made


def sections(out: str) -> dict[str, str]:
    """Kind → text, of a dry run."""
    parts = re.split(r"^### (\w+): .*\n", out, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("site", ["slurm", "lumi"])
def test_a_dry_run_shows_all_and_starts_nothing(
    run: Run, campaign: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "Slurm", None)  # nor is there a Slurm
    before = sorted(campaign.parent.iterdir())
    code, out, err = run("submit", campaign, "--site", SITES / f"{site}.yaml", "--dry-run")
    assert (code, err) == (0, "")
    assert sorted(campaign.parent.iterdir()) == before
    found = sections(out)
    assert tuple(found) == ("driver", *KINDS)
    root = campaign.with_name("campaign.run")
    words = ["-m", "phasewalk", "run", str(campaign), "--dir", str(root), "--site"]
    assert shlex.join([*words, str(SITES / f"{site}.yaml")]) in found["driver"]
    if site == "slurm":
        for kind in KINDS:
            assert shlex.split(found[kind])[0] == "srun"
        assert {"--ntasks=2", "--gres=gpu:2", "--mem=64000M"} <= set(shlex.split(found["segment"]))
        assert "--gres=none" in found["label"]
    else:
        for kind in KINDS:
            assert found[kind].startswith(f"#!/bin/bash\n#SBATCH --job-name=phasewalk-{kind}-")
            assert "singularity exec --bind /pfs," in found[kind]
            assert ("--gres=gpu" in found[kind]) == (kind != "label")
        assert "singularity" not in found["driver"]
        assert "--cpus-per-task=8" in found["compile"]


def test_a_dry_run_shows_labels_side_by_side(run: Run, campaign: Path) -> None:
    text = "site: lab\npack_cores: 4\ndefault: {memory_GB: 2, time_min: 60}"
    campaign.with_name("lab.yaml").write_text(text)
    code, out, err = run("submit", campaign, "--site", "lab", "--dry-run")
    assert (code, err) == (0, "")
    one, four = (sections(out)[kind] for kind in ("label", "labels"))
    assert {"#SBATCH --ntasks=1", "#SBATCH --mem=2000M"} <= set(one.splitlines())
    assert {"#SBATCH --ntasks=4", "#SBATCH --mem=8000M"} <= set(four.splitlines())
    assert "srun" not in one
    assert "srun --exact --nodes=1 --ntasks=1 " in four


def test_a_dry_run_of_steps_that_do_not_fit_says_so(run: Run, campaign: Path) -> None:
    text = "site: lab\nmode: steps\ndefault: {time_min: 60}\nsegment: {nodes: 2}"
    campaign.with_name("lab.yaml").write_text(text)
    code, out, err = run("submit", campaign, "--site", "lab", "--dry-run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "segment needs 2 cores on 2 nodes" in err


@pytest.mark.parametrize(
    ("command", "target"), [("submit", "campaign.yaml"), ("cancel", "campaign.run")]
)
def test_a_site_without_slurm_is_refused(
    run: Run, campaign: Path, slurm: FakeSlurm, command: str, target: str
) -> None:
    campaign.with_name("lab.yaml").write_text("site: lab\nscheduler: none")
    code, out, err = run(command, campaign.with_name(target), "--site", "lab")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "lab.yaml: scheduler is none, so that there is no queue" in err


@pytest.mark.parametrize("command", ["submit", "run", "cancel"])
def test_a_machine_without_slurm_is_one_line_and_nothing_is_written(
    run: Run, campaign: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = campaign.with_name("campaign.run")
    if command == "cancel":
        root.mkdir()
    before = sorted(campaign.parent.rglob("*"))
    code, out, err = run(command, root if command == "cancel" else campaign, "--site", "lab")
    assert (code, out) == (2, "")
    assert err == (
        "phasewalk: sbatch not found: this machine has no commands of Slurm; run phasewalk on a "
        "login node, or without --site\n"
    )
    assert sorted(campaign.parent.rglob("*")) == before


def test_submit_and_cancel(run: Run, campaign: Path, slurm: FakeSlurm) -> None:
    root = campaign.with_name("campaign.run")
    code, out, err = run("cancel", root)
    assert (code, out) == (2, "")
    assert "no campaign directory, and nothing was submitted" in err
    code, out, err = run("submit", campaign, "--site", "lab")
    assert (code, err) == (0, "")
    assert out.startswith("submitted as job 1; what it prints: ")
    assert f"phasewalk cancel {shlex.quote(str(root))}" in out
    plan = json.loads((submitted.folder_of(root) / "driver.json").read_text())
    assert [plan["lock"], plan["journal"]] == [str(root / LOCK), str(root / JOURNAL)]
    script = slurm.jobs["1"].text
    assert f"--site {shlex.quote(str(campaign.with_name('lab.yaml')))}" in script
    code, out, err = run("submit", campaign, "--site", "lab")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "in the queue for it already (job 1, PENDING)" in err
    code, out, err = run("cancel", root, "--site", "lab")
    assert (code, err) == (0, "")
    assert "cancelled: phasewalk itself (job 1) and 0 other job(s)" in out
    assert (submitted.folder_of(root) / "cancelled").exists()
    code, out, err = run("cancel", root)
    assert (code, err) == (0, "")
    assert "nothing of it is in the queue" in out


def test_status_of_what_waits_in_the_queue(run: Run, campaign: Path, slurm: FakeSlurm) -> None:
    """Before its directory is there, and between two jobs of phasewalk itself."""
    root = campaign.with_name("campaign.run")
    assert "not a campaign directory" in run("status", root)[2]
    run("submit", campaign, "--site", "lab")
    code, out, err = run("status", root)
    assert (code, err) == (0, "")
    assert "phasewalk itself, job 1, waits in the queue of Slurm since" in out
    assert f"end it with: phasewalk cancel {shlex.quote(str(root))}" in out
    assert json.loads(run("status", root, "--json")[1])["submitted"]["state"] == "queued"
    directory.open_campaign(root, {"name": "salt"}).close()
    for words in ("campaign salt: queued; 0 labels", "squeue --job 1 shows why"):
        assert words in run("status", root)[1]
    state = json.loads(run("status", root, "--json")[1])
    assert (state["running"], state["submitted"]["state"]) == (False, "queued")
    run("cancel", root, "--site", "lab")
    assert "campaign salt: stopped" in (out := run("status", root)[1])
    assert "queue" not in out


@pytest.mark.parametrize("command", ["submit", "cancel"])
def test_a_run_outside_of_the_queue_comes_first(
    run: Run, campaign: Path, slurm: FakeSlurm, command: str
) -> None:
    """A run that sees its jobs cancelled would take them for failed."""
    root = campaign.with_name("campaign.run")
    root.mkdir()
    lock = locking.take(root)
    try:
        given = (campaign, "--site", "lab") if command == "submit" else (root,)
        code, out, err = run(command, *given)
    finally:
        lock.release()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "stop" in err
    assert not slurm.jobs


def test_a_wrong_campaign_is_not_submitted(run: Run, campaign: Path, slurm: FakeSlurm) -> None:
    campaign.write_text(campaign.read_text() + "roundz: 3\n")
    code, _, err = run("submit", campaign, "--site", "lab")
    assert code == 2
    assert "roundz" in err
    assert not slurm.jobs
