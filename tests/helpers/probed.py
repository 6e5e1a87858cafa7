"""What a probe of a place would have found; see `phasewalk.sites.probe`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from phasewalk.engines import Machine
from phasewalk.jobs import Job
from phasewalk.models import Deployed
from phasewalk.sites.probe import STEPS, Answer, Asked, Place, Step

MACHINE = Machine(
    "node7",
    "x86_64",
    "avx avx2 sse",
    has_gpu=False,
    has_compiler=True,
    versions={"phasewalk": "1", "torch": "2", "nequip": "3", "python": "3.11"},
)
WITH_GPU = replace(MACHINE, host="node8", has_gpu=True, gpu="sm_90")
DONE = tuple(Step(name, 0, "", 1.0) for name in STEPS)
STAMP = Deployed(
    file="model.nequip.pth", mode="torchscript", device="cpu", dtype="float32", types=("H",),
    r_max_A=4.0, torch="2", nequip="3", cpu="AVX2", processor="avx", seconds=1.0,
)  # fmt: skip


def asked(*kinds: str, gpus: int = 0, cores: int = 1, **how: Any) -> Asked:
    """A place of these kinds."""
    kind: Any = kinds[0]
    job = Job(kind, ("program",), Path(kind), kind, threads=cores, **how)
    return Asked(kinds, job, gpus)


def place(host: str = "n1", cores: int = 1, given: int | None = None, **how: Any) -> Place:
    """What a rank sees."""
    found: dict[str, Any] = {"gpus": [], "gpu_names": [], **how}
    return Place("host", host, [str(number) for number in range(cores)], given, **found)


def answer(of: Asked, *places: Place, **how: Any) -> Answer:
    """An answer without any fault."""
    gpus = [str(number) for number in range(of.gpus)]
    machine = WITH_GPU if of.gpus else MACHINE
    found: dict[str, Any] = {
        "started": 100.0, "machine": machine, "missing": (), "file_ms": 1.0, "seen_s": 0.1,
        "clock_s": 0.0, "steps": DONE, "stamp": replace(STAMP, device="cuda" if gpus else "cpu"),
    }  # fmt: skip
    places = places or (place(cores=of.job.cores, given=of.job.cores, gpus=gpus),)
    return Answer(asked=of, places=places, **{**found, **how})


def written(folder: Path, machine: Machine = MACHINE, **how: Any) -> None:
    """Write what the first rank of a probe writes, without a model."""
    found: Mapping[str, Any] = {
        "started": 100.0, "machine": asdict(machine), "place": asdict(place()), "missing": [],
        "file_ms": 1.0, "seen_s": 0.1, "clock_s": None, "steps": [],
    }  # fmt: skip
    (folder / "probe.json").write_text(json.dumps({**found, **how}))


def rank() -> str:
    """What another rank of a probe writes."""
    return json.dumps(asdict(place()))
