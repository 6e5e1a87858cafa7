"""What srun says of a step that did not end by itself."""

import re

from ..engines import Outside
from .needs import Need

_STEPD = r"(?:slurmstepd\S*|srun): error: .*"
_MEMORY = re.compile(rf"{_STEPD}(?:memory limit|oom[-_ ]kill|out of memory)", re.IGNORECASE)
_NODE = re.compile(r"srun: error: Node failure on (\S+)")
_TIME = re.compile(rf"{_STEPD}DUE TO TIME LIMIT")
_CANCELLED = re.compile(rf"{_STEPD}CANCELLED AT ")
_ABORTED = re.compile(r"application called MPI_Abort|MPI_ABORT was invoked")
"""Of a program that ends all its ranks (MPICH, Open MPI); Slurm then cancels the step, too."""
_GONE = re.compile(
    r"srun: error: .*(?:Expired or invalid job|already completing or completed|Invalid job id)"
)
_BUSY = re.compile(
    r"srun: error: .*"
    r"(?:Socket timed out|Unable to contact|Zero Bytes|Connection refused|connection failure)"
)
NOT_STARTED = "not started: Slurm's controller did not answer"
CANCELLED = "cancelled by hand (scancel)"
ENDED = "ended with the allocation"


def outside(said: str, need: Need, kind: str) -> Outside | None:
    """What happened to a step from outside; None if it ended by itself.

    Args:
        said: what srun printed, and the last lines of the step's errors.
        need: what it had.
        kind: kind of work in the site file.
    """
    if _MEMORY.search(said):
        limit = f" of {need.memory_MB / 1000:g} GB" if need.memory_MB else ""
        why = f"killed for memory: its limit{limit} was exceeded; raise memory_GB of {kind}"
        return Outside(why)
    if nodes := _NODE.findall(said):
        return Outside(f"lost with its node, {nodes[0]}", again=True, lost=tuple(nodes))
    if _TIME.search(said):
        return Outside(ENDED, ended=True)
    if _GONE.search(said) or _BUSY.search(said):
        return Outside(NOT_STARTED, again=True, ask=True)
    by_hand = _CANCELLED.search(said) and not _ABORTED.search(said)
    return Outside(CANCELLED, ask=True) if by_hand else None
