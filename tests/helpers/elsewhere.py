"""A launcher whose jobs seem to run on another machine: on this one, but it says otherwise."""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from phasewalk.engines import Machine, here
from phasewalk.engines.local import LocalLauncher
from phasewalk.engines.machine import CHILD, RESULT
from phasewalk.jobs import Job, Session
from phasewalk.observed import ObservedSession

GPU_NODE = Machine(
    "node7", "x86_64", "avx avx2 sse", has_gpu=True, has_compiler=True, versions=here().versions
)


def asks(job: Job) -> bool:
    """Whether a job asks for the machine."""
    return str(CHILD) in job.argv


def answer(machine: Machine, **changes: Any) -> str:
    """What the child writes there; without the fields that are changed to None."""
    found = {**asdict(machine), **changes}
    return json.dumps({name: value for name, value in found.items() if value is not None})


@dataclass(frozen=True)
class Elsewhere:
    """Starts all jobs here; the one that asks writes `text`, and ends with `code`."""

    text: str
    code: int = 0
    cores: int = 2
    here: bool = False
    scratch: Path | None = None
    walkers: int | None = None
    walker_gpus: int | None = None

    def session(self) -> Session:
        """Open a session."""
        return _Session(LocalLauncher(self.cores).session(), lambda: None, lambda event: None, self)


@dataclass(frozen=True)
class _Session(ObservedSession):
    launcher: Elsewhere

    def add(self, job: Job) -> None:
        if asks(job):
            code = (
                "import sys; open(sys.argv[1], 'w').write(sys.argv[2]); sys.exit(int(sys.argv[3]))"
            )
            words = (RESULT, self.launcher.text, str(self.launcher.code))
            job = replace(job, argv=(sys.executable, "-S", "-c", code, *words))
        super().add(job)
