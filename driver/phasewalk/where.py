"""Where a job waits or runs, as its launcher knows it, for people and for the ledger: data only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MARK = "slurm.json"
"""File in a job's directory that names its batch job, until nobody wants its result any more."""


@dataclass(frozen=True)
class Pool:
    """Machines that jobs share: an allocation of Slurm, or a workstation.

    Attributes:
        number: number of the allocation; empty for a workstation.
        nodes: number of machines.
        cores, gpus: of all machines together.
        began: start of the allocation, seconds since 1970; None if it is not known.
        ends_at: its end, seconds since 1970; None if it has none.
    """

    number: str = ""
    nodes: int = 1
    cores: int = 0
    gpus: int = 0
    began: float | None = None
    ends_at: float | None = None


@dataclass(frozen=True)
class Where:
    """Where a job waits or runs.

    Attributes:
        kind: kind of work in the site file.
        partition: partition of Slurm; empty if it is not known yet, or there is none.
        number: number of its batch job, or of the allocation.
        nodes: names of its nodes; empty before it starts.
        cores, gpus: what it occupies on all nodes together.
        submitted, started: times of its batch job as Slurm says, seconds since 1970; `started`
            alone if it is a step.
        pool: what it shares with others; None for a batch job.
        losses: number of times that it was started again because Slurm had lost its node or
            preempted it; None if there were none.
    """

    kind: str = ""
    partition: str = ""
    number: str = ""
    nodes: str = ""
    cores: int = 0
    gpus: int = 0
    submitted: float | None = None
    started: float | None = None
    pool: Pool | None = None
    losses: int | None = None

    @property
    def queued_s(self) -> float | None:
        """Time in the queue; None if it has not been started, or was in no queue."""
        if self.submitted is None or self.started is None:
            return None
        return max(0.0, self.started - self.submitted)


def to_json(where: Where) -> dict[str, Any]:
    """As data for JSON; what is not known is left out."""
    return _given(asdict(where))


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _given(value) if isinstance(value, Mapping) else value
        for key, value in data.items()
        if value not in (None, "")
    }


def over(better: Where, other: Where | None) -> Where:
    """What two sources say; the first one is right if they differ."""
    return better if other is None else Where(**{**_fields(other), **_known(better)})


def _fields(where: Where) -> dict[str, Any]:
    return {name: getattr(where, name) for name in Where.__dataclass_fields__}


def _known(where: Where) -> dict[str, Any]:
    return {name: value for name, value in _fields(where).items() if value not in (None, "", 0)}


def from_json(data: Mapping[str, Any]) -> Where:
    """The reverse of `to_json`; keys of later versions are left out."""
    own = {name: data[name] for name in Where.__dataclass_fields__ if name in data}
    if pool := own.get("pool"):
        own["pool"] = Pool(**{n: pool[n] for n in Pool.__dataclass_fields__ if n in pool})
    return Where(**own)
