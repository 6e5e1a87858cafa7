"""Commands ask, once and before anything else, for the machine on which their jobs run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase.io
import pytest

from helpers import fake_campaign, fake_engines
from helpers.elsewhere import GPU_NODE, answer, asks
from helpers.fakes import ROOT, SALT, FakeLauncher, label, write_campaign
from phasewalk import engines
from phasewalk.engines import local
from phasewalk.engines.machine import RESULT
from phasewalk.jobs import Job

Run = Callable[..., tuple[int, str, str]]
NO_GPU = replace(GPU_NODE, host="node8", has_gpu=False)


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLauncher:
    """The launcher of all commands: its jobs run elsewhere, and that machine gives no answer."""
    found = FakeLauncher(here=False)
    monkeypatch.setattr(local, "LocalLauncher", lambda *_: found)
    monkeypatch.setattr(engines, "find", lambda *_: fake_engines.engines(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return found


def says(launcher: FakeLauncher, text: str) -> None:
    def play(job: Job) -> int:
        assert asks(job)
        (job.directory / RESULT).write_text(text)
        return 0

    launcher.play = play


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, list[object]]:
    """Arguments with which each command would start jobs."""
    model, data = tmp_path / "model.nequip.pth", tmp_path / "data.extxyz"
    model.write_bytes(b"model")
    ase.io.write(data, label().with_results())
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"weights")
    (tmp_path / "salt").mkdir()
    path = write_campaign(tmp_path / "salt", SALT + "deploy: {device: cuda}\n")
    found: dict[str, list[object]] = {"run": [path], "check": [path]}
    found["evaluate"] = [model, "--data", data]
    found["gate"] = [model, "--data", data, "--checkpoint", checkpoint]
    return found


@pytest.mark.parametrize("command", ["run", "evaluate", "gate"])
def test_without_an_answer_nothing_is_started(
    run: Run, launcher: FakeLauncher, arguments: dict[str, list[object]], command: str
) -> None:
    code, out, err = run(command, *arguments[command])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("phasewalk: the machine on which segments run cannot be asked")
    assert [asks(job) for job in launcher.jobs] == [True]


def test_a_run_needs_the_gpu_there(
    run: Run, launcher: FakeLauncher, arguments: dict[str, list[object]], tmp_path: Path
) -> None:
    """Not here; and nothing is made or lost where there is none."""
    says(launcher, answer(NO_GPU))
    code, out, err = run("run", *arguments["run"])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "deploy.device: cuda, but no NVIDIA driver was found on node8, where segments" in err
    made = sorted(path.name for path in (tmp_path / "salt").iterdir())
    assert made == ["campaign.yaml", "salt.extxyz"]
    says(launcher, answer(GPU_NODE))
    assert "PLUMED: not found" in run("run", *arguments["run"])[2]  # what it looks for next
    assert len(launcher.jobs) == 2


def test_a_check_without_an_answer(
    run: Run, launcher: FakeLauncher, arguments: dict[str, list[object]]
) -> None:
    code, out, err = run("check", *arguments["check"])
    assert (code, err.count("\n")) == (2, 1)
    assert out.startswith("missing machine ")
    assert out.count("\n") == 1


def test_a_free_energy_needs_a_machine_that_runs_the_model(
    run: Run, launcher: FakeLauncher, tmp_path: Path
) -> None:
    machine = replace(NO_GPU, processor="avx fly")
    programs = fake_engines.FakeEngines(machine=machine)
    campaign = fake_campaign.make(tmp_path / "made", programs=programs)
    file = campaign.folder / "campaign.yaml"
    file.write_text(file.read_text().replace("mode: torchscript", "mode: aotinductor"))
    campaign.run()
    before = (campaign.root / "journal.jsonl").read_bytes()
    for text, why in (
        ("", "the machine on which segments run cannot be asked"),
        (answer(NO_GPU), "a processor with fly, which this machine does not have"),
    ):
        says(launcher, text)
        code, out, err = run("fes", campaign.root)
        assert (code, out, err.count("\n"), why in err) == (2, "", 1, True)
    assert (campaign.root / "journal.jsonl").read_bytes() == before
    assert not (campaign.root / "fes").exists()


def test_a_free_energy_needs_a_core_for_each_rank(
    run: Run, launcher: FakeLauncher, tmp_path: Path
) -> None:
    """Which were there when the campaign ran."""
    more = "resources: {ranks_per_walker: 2}"
    programs = fake_engines.FakeEngines(machine=NO_GPU)
    campaign = fake_campaign.make(tmp_path / "made", more=more, programs=programs)
    campaign.run()
    says(launcher, answer(NO_GPU))
    launcher.cores = 1
    code, out, err = run("fes", campaign.root)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "a walker has 2 MPI ranks (resources.ranks_per_walker), but 1 core(s) × 1 " in err
    assert all(asks(job) for job in launcher.jobs)


@pytest.mark.parametrize("command", ["status", "render"])
def test_who_starts_no_job_asks_nothing(
    run: Run, launcher: FakeLauncher, arguments: dict[str, list[object]], command: str
) -> None:
    given = arguments["run"] if command == "render" else [ROOT / "tests/data/mil53_al.run"]
    assert run(command, *given)[0] == 0
    assert launcher.jobs == []
