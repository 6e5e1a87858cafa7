"""Facts about the machine on which jobs run, which need not be the one of this process.

On a cluster phasewalk may run on a login node without a GPU and with another processor. Therefore a
job is asked, through the launcher. A launcher whose jobs run on this machine is not asked.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, scratch
from ..errors import EngineFailed, EngineMissing, InputError
from ..files import EXACT
from ..jobs import Finished, Job, Kind, Launcher, run
from .machine_child import facts

RESULT = "machine.json"
CHILD = Path(__file__).with_name("machine_child.py")
LIMIT_S = 120.0


@dataclass(frozen=True)
class Machine:
    """A machine on which jobs run.

    Attributes:
        host: its name.
        architecture: of its processor, such as x86_64.
        processor: features of its processor, as listed by Linux, separated by blanks.
        has_gpu: whether it has a driver of NVIDIA or AMD, and a GPU that this job may use.
        has_compiler: whether it has a C++ compiler, `c++`.
        versions: of Python and of the installed packages of `machine_child.PACKAGES`.
        gpu: architectures of its GPUs, such as sm_90 or gfx90a, separated by blanks; empty if they
            are not known.
    """

    __pydantic_config__ = EXACT
    host: str
    architecture: str
    processor: str
    has_gpu: bool
    has_compiler: bool
    versions: Mapping[str, str]
    gpu: str = ""

    @property
    def torch(self) -> str:
        """Version of torch; "None" if it is not installed."""
        return str(self.versions.get("torch"))

    @property
    def type(self) -> dict[str, Any]:
        """What decides which compiled models it can run, for the journal."""
        return {
            "architecture": self.architecture,
            "processor": self.processor,
            "has_gpu": self.has_gpu,
            **({"gpu": self.gpu} if self.gpu else {}),
        }

    def __str__(self) -> str:
        """Name, architecture and GPU in words."""
        gpu = "a GPU" if self.has_gpu else "no GPU (no nvidia-smi or rocm-smi)"
        return f"{self.host}: {self.architecture}, {gpu}"


def here() -> Machine:
    """The machine of this process."""
    return Machine(**facts())


def ask(launcher: Launcher, kind: Kind = "segment") -> Machine:
    """The machine on which jobs of a kind run.

    Raises:
        EngineMissing: the job that asks fails, or its answer cannot be read; its folder is kept.
    """
    if launcher.here:
        return here()
    with scratch.folder("machine", within=launcher.scratch, keep_failed=True) as folder:
        try:
            return read(run(launcher, job(folder / "ask", kind)))
        except (EngineFailed, InputError) as error:
            raise EngineMissing(
                f"the machine on which {kind}s run cannot be asked for its GPU, processor and "
                f"versions: {error}; jobs must be able to start there, with {sys.executable} and "
                f"with the folder for temporary files, {folder.parent} (TMPDIR)"
            ) from error


def job(directory: Path, kind: Kind = "segment") -> Job:
    """The job that asks; it is of the kind of those jobs, so that it runs where they run."""
    argv = (sys.executable, "-P", str(CHILD), RESULT)
    return Job("machine", argv, directory, kind=kind, timeout_s=LIMIT_S)


def read(finished: Finished) -> Machine:
    """The answer.

    Raises:
        EngineFailed: the job failed.
        ParseError: its answer cannot be read.
    """
    finished.require_success()
    return files.read(finished.directory / RESULT, Machine, unlike="not an answer about a machine")
