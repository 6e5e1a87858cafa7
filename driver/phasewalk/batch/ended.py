"""How a batch job has ended, in words that a user can act on, and whether it is tried again."""

import re
import signal
from dataclasses import dataclass

from ..cluster import Need
from .scheduler import How

TRIES = 3
"""Number of times that a job is started if it ends without a result, and nobody knows why."""
STOPPED, KILLED = 128 + signal.SIGTERM, 128 + signal.SIGKILL
_MEMORY = re.compile(r"exceeded (?:step|job)? ?memory limit|oom.?kill|Out Of Memory", re.I)
_GB = 1000 * 2**20
"""Bytes of a GB of `memory_GB`: the megabytes of Slurm's commands are 2²⁰ bytes."""
_USED = re.compile(r"exceeded (?:step|job)? ?memory limit \((\d+) > (\d+)\)")
LOST = {
    "NODE_FAIL": "lost with its node",
    "BOOT_FAIL": "lost because its node did not boot",
    "PREEMPTED": "preempted by a job of higher priority",
    "REVOKED": "revoked by Slurm",
}
"""States of a batch job whose nodes Slurm has taken."""
_NODES_FAULT = ("JobLaunchFailure", "SystemFailure", "launch_failed_requeued_held")
"""Reasons of a failure that has nothing to do with the program: its node did not start it."""


@dataclass(frozen=True)
class Verdict:
    """What follows for a job that has left no result.

    Attributes:
        again: it is put into the queue again, unless that was done too often.
        why: what happened: "killed for memory: 62 of 64 GB; raise memory_GB of label".
        returncode: as that of the program; None for a time limit.
        lost: Slurm has taken its nodes, which is not the job's fault.
    """

    again: bool
    why: str
    returncode: int | None = KILLED
    lost: bool = False


def verdict(how: How | None, printed: str, need: Need, kind: str) -> Verdict:
    """What follows for a job without a result, whose batch job has ended.

    Args:
        how: what Slurm says; None if it does not know the batch job any more.
        printed: last lines of its program and of its batch job.
        need: what it was given.
        kind: of the settings in the site file that it used.
    """
    if how is None:
        return Verdict(True, "lost: it is no longer in Slurm's queue, and has left no result")
    where = f" ({how.nodes})" if how.nodes else ""
    if how.state == "OUT_OF_MEMORY" or _MEMORY.search(printed):
        return Verdict(False, memory(printed, need, kind))
    if how.state in ("TIMEOUT", "DEADLINE"):
        limit = f"stopped at the time limit of its batch job, {need.minutes:g} min"
        return Verdict(False, f"{limit}; raise time_min of {kind} in the site file", None)
    if how.state == "CANCELLED":
        return Verdict(False, "cancelled by hand (scancel)", STOPPED)
    if how.state in LOST:
        return Verdict(True, f"{LOST[how.state]}{where}", lost=True)
    if how.state == "COMPLETED":
        return Verdict(True, f"lost: its batch job has ended without a result{where}")
    if how.reason in _NODES_FAULT:
        return Verdict(True, f"not started by its node{where}, {how.reason}")
    return Verdict(False, _script(how, where, printed), how.code or 128 + how.signal)


def memory(printed: str, need: Need, kind: str) -> str:
    """That memory ran out, and of what."""
    hint = f"raise memory_GB of {kind} in the site file"
    if found := _USED.search(printed):
        used, most = (int(number) / _GB for number in found.groups())
        return f"killed for memory: {used:.3g} of {most:.3g} GB; {hint}"
    limit = f"{need.memory_MB / 1000:g} GB" if need.memory_MB else "that of the partition"
    return f"killed for memory (limit: {limit}); {hint}"


def of_failure(code: int, printed: str, need: Need, kind: str) -> str:
    """Why a program failed, if it was ended from outside; else empty.

    Args:
        code: its exit code.
        printed: last lines of its program and of its batch job.
        need: what it was given.
        kind: of the settings in the site file that it used.
    """
    if _MEMORY.search(printed):
        return memory(printed, need, kind)
    if code == KILLED:
        return f"killed (signal 9), perhaps for memory: raise memory_GB of {kind} in the site file"
    return ""


def too_often(last: Verdict, most: int | None = None) -> str:
    """Why a job is not tried again any more.

    Args:
        last: its last end.
        most: `max_losses` of the site file, if that is the reason.
    """
    if last.lost:
        return (
            f"started {(most or 0) + 1} times; the last time it was {last.why}; raise max_losses "
            "in the site file, or use nodes on which jobs are not preempted"
        )
    return f"tried {TRIES} times; the last time it was {last.why}"


def _script(how: How, where: str, printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    says = f": {lines[-1]}" if lines else ""
    if how.signal:
        return f"ended with its batch script, by signal {how.signal}{where}{says}"
    return f"ended with its batch script, which failed with code {how.code}{where}{says}"
