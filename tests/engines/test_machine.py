"""The machine on which jobs run: asked by a job, unless it is this one."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.elsewhere import GPU_NODE, Elsewhere, answer, asks
from helpers.fakes import FakeLauncher
from phasewalk.engines import ask, discovery, here, machine_child, with_machine
from phasewalk.engines.discovery import EngineSettings
from phasewalk.engines.local import LocalLauncher
from phasewalk.engines.machine import CHILD, RESULT
from phasewalk.errors import EngineFailed, EngineMissing, InputError
from phasewalk.jobs import Finished, Job, Launcher, Session
from phasewalk.observed import Observed


@dataclasses.dataclass(frozen=True)
class Remote:
    """Starts its jobs here, but is asked as if it did not."""

    inner: LocalLauncher
    cores: int = 1
    here: bool = False
    scratch: Path | None = None
    walkers: int | None = None
    walker_gpus: int | None = None

    def session(self) -> Session:
        return self.inner.session()


def test_the_job_says_what_this_process_would() -> None:
    """Where jobs run here, nothing is lost by not asking."""
    assert ask(Remote(LocalLauncher(1))) == here() == ask(LocalLauncher(1))


def test_the_child_needs_no_package_and_no_folder(tmp_path: Path) -> None:
    """It imports nothing of phasewalk: what may be slow, or be missing there."""
    code = "import runpy, sys; sys.argv = sys.argv[1:]; "
    code += "assert not runpy.run_path(sys.argv[0], run_name='x')['main'](sys.argv); "
    code += "print(sorted({'phasewalk', 'pydantic', 'torch', 'numpy'} & sys.modules.keys()))"
    command = [sys.executable, "-c", code, str(CHILD), str(tmp_path / RESULT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_the_version_of_torch_is_that_which_torch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its build, as a compiled model's stamp has it, though its metadata may not; unimported.

    Seen with torch 2.11.0+cu130: all models of AOTInductor were refused.
    """
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise RuntimeError")
    (tmp_path / "torch/version.py").write_text("__version__ = '9.9.0+cu999'\ndebug = False\n")
    metadata = tmp_path / "torch-9.9.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Name: torch\nVersion: 9.9.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert machine_child.versions(["torch"])["torch"] == "9.9.0+cu999"
    (tmp_path / "torch/version.py").write_text("# made in another way\n")
    assert machine_child.versions(["torch"])["torch"] == "9.9.0"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_launcher_of_this_machine_is_not_asked(wrapped: bool) -> None:
    launcher = FakeLauncher()
    asked: Launcher = Observed(launcher, lambda: None) if wrapped else launcher
    assert ask(asked) == here()
    assert launcher.jobs == []


def played(text: str, code: int | None = 0) -> FakeLauncher:
    def play(job: Job) -> int | None:
        (job.directory / RESULT).write_text(text)
        (job.directory / Finished.STDERR).write_text("node is down\n" if code else "")
        return code

    return FakeLauncher(play, here=False)


@pytest.mark.parametrize("wrapped", [False, True])
def test_another_machine_is_asked_once(wrapped: bool) -> None:
    launcher = played(answer(GPU_NODE))
    found = with_machine(
        discovery.find(EngineSettings(), {}),
        Observed(launcher, lambda: None) if wrapped else launcher,
    )
    assert found.machine == GPU_NODE
    (job,) = launcher.jobs
    assert (asks(job), job.kind, job.cores) == (True, "segment", 1)
    assert not job.directory.parent.exists()  # a temporary folder


def test_versions_are_those_of_the_other_machine() -> None:
    launcher = played(answer(GPU_NODE, versions={"torch": "9.9"}))
    found = with_machine(discovery.find(EngineSettings(), {}), launcher)
    assert found.versions == {"torch": "9.9"}
    assert found.machine.torch == "9.9"


def refuse(error: Exception) -> FakeLauncher:
    def play(job: Job) -> int:
        raise error

    return FakeLauncher(play, here=False)


@pytest.mark.parametrize(
    ("launcher", "says"),
    [
        (lambda: played("", 1), "machine ended with code 1: node is down"),
        (lambda: played("", 137), "machine ended with code 137 (SIGKILL)"),
        (lambda: played("", None), "machine was stopped at its time limit of 120 s"),
        (lambda: FakeLauncher(here=False), "machine.json: not an answer about a machine"),
        (lambda: played(""), "not an answer about a machine"),
        (lambda: played("[1]"), "not an answer about a machine"),
        (lambda: played(answer(GPU_NODE)[:-9]), "not an answer about a machine"),
        (lambda: played(answer(GPU_NODE, has_gpu=None)), "has_gpu is missing"),
        (lambda: played(answer(GPU_NODE, has_gpu="no")), "has_gpu is 'no', expected a valid bool"),
        (lambda: played(answer(GPU_NODE, versions={"torch": 2})), "versions.torch is 2"),
        (lambda: played(answer(GPU_NODE, more=1)), "more is not expected"),
        (lambda: refuse(EngineFailed("sbatch: no such queue")), "sbatch: no such queue"),
        (lambda: refuse(InputError("no account")), "no account"),
    ],
)
def test_no_answer_is_one_line(
    launcher: Callable[[], Launcher], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EngineMissing) as caught:
        ask(launcher())
    message = str(caught.value)
    assert message.startswith("the machine on which segments run cannot be asked for its GPU")
    assert says in message
    assert f"with {sys.executable} and with the folder for temporary files, {tmp_path}" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert len(list(tmp_path.iterdir())) == 1  # what the job has left is kept


def test_a_job_that_dies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real processes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EngineMissing, match=r"machine ended with code 3: \(no output\)"):
        ask(Elsewhere("{}", code=3))
    assert ask(Elsewhere(answer(GPU_NODE))) == GPU_NODE
