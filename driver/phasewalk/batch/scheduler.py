"""What phasewalk asks of a scheduler, and Slurm's commands as its answer.

A command that fails, or does not answer, says nothing about jobs: it is asked again later.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..cluster import NotNow, slurm
from ..errors import InputError

WAITS = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
"""States before a start; SPECIAL_EXIT and REQUEUE_HOLD wait for the user."""
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
"""States of a job that has ended."""


class QueueFull(NotNow):
    """The scheduler takes no further job of this user now."""


class Refused(InputError):
    """The scheduler will never take such a job: a partition, account or limit is wrong."""


@dataclass(frozen=True)
class State:
    """What the queue says of a job.

    Attributes:
        id: its number.
        name: its name; only phasewalk's own are unique.
        state: Slurm's word, such as PENDING, RUNNING, NODE_FAIL.
        reason: why it waits or has ended, Slurm's word.
        elapsed_s: seconds since its last start; 0 if it waits.
        nodes: on which it runs.
        partition: in which it is.
        submitted: when it came into the queue, seconds since 1970; None if it is not known.
        started: its last start, seconds since 1970; None if it waits.
    """

    id: str
    name: str
    state: str
    reason: str = ""
    elapsed_s: float = 0.0
    nodes: str = ""
    partition: str = ""
    submitted: float | None = None
    started: float | None = None

    @property
    def waits(self) -> bool:
        """It has not been started, or is to be started again."""
        return self.state in WAITS

    @property
    def ended(self) -> bool:
        """It has ended."""
        return self.state in ENDED


@dataclass(frozen=True)
class How:
    """How a job has ended, as the scheduler says.

    Attributes:
        state: Slurm's word.
        reason: Slurm's word for why.
        code: exit code of the script.
        signal: that ended it; 0 if none did.
        seconds: from its last start to its end.
        nodes: on which it ran.
        partition, submitted, started: see `State`.
    """

    state: str
    reason: str = ""
    code: int = 0
    signal: int = 0
    seconds: float = 0.0
    nodes: str = ""
    partition: str = ""
    submitted: float | None = None
    started: float | None = None


class Scheduler(Protocol):
    """A queue of batch jobs; the same interface for Slurm and for a test."""

    def submit(self, script: Path) -> str:
        """Put a batch script into the queue and return the job's number.

        Raises:
            QueueFull: no more jobs are accepted now; it was not put into the queue.
            Refused: it will never be accepted; the message says why.
            NotNow: no answer; it may be in the queue, under its name.
        """
        ...

    def refusal(self, script: Path) -> str:
        """Why no such job could start, if nothing else ran; empty if it could, or is not known.

        Nothing is put into the queue.
        """
        ...

    def states(self) -> Mapping[str, State]:
        """All jobs of this user by number, with those that have ended lately; NotNow if unknown."""
        ...

    def ended(self, number: str) -> How | None:
        """How a job has ended; None if it is not known any more.

        Raises:
            NotNow: no answer, or it has not ended.
        """
        ...

    def cancel(self, numbers: Collection[str]) -> None:
        """End jobs, or take them out of the queue; those that have ended are no error; NotNow."""
        ...


_FULL = re.compile(
    r"MaxSubmitJob|SubmitJobLimit|MaxJobCount|job submit limit|Resource temporarily unavailable"
    r"|temporarily unable to accept job|too many jobs",
    re.I,
)
_BUSY = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted"
    r"|Connection refused|Connection timed out|Transport endpoint|Unexpected message"
    r"|Communication connection failure|in standby mode|controller is busy|slurmctld"
    r"|Protocol authentication|Munge|RPC rate limit|Message (send|receive) failure"
    r"|Could not establish a configuration source",
    re.I,
)
_UNCONFIGURED = re.compile(
    r"Could not establish a configuration source|Unable to process configuration file", re.I
)
_ID = re.compile(r"^(\d+)(?:;\S+)?$", re.M)


@dataclass(frozen=True)
class Slurm:
    """Slurm through sbatch, squeue, scontrol, sacct and scancel.

    Attributes:
        environ: of this process.
    """

    environ: Mapping[str, str]

    def check(self) -> None:
        """Raise InputError if this machine belongs to no cluster; nothing is asked of Slurm."""
        try:
            for command in ("sbatch", "squeue", "scontrol", "scancel"):
                done = self._run(command, "--version")
                if done.code and _UNCONFIGURED.search(done.why):
                    said = done.why.split("; ")[-1]
                    raise InputError(
                        f"Slurm's commands are here, but not configured for any cluster "
                        f"({command}: {said}); run phasewalk on a login node, set SLURM_CONF, or "
                        "run it without --site"
                    )
        except NotNow:  # a busy machine, which may do better later
            return

    def submit(self, script: Path) -> str:
        """See `Scheduler.submit`."""
        done = self._run("sbatch", "--parsable", str(script))
        found = _ID.search(done.out)
        if done.code == 0 and found:
            return found[1]
        if _FULL.search(done.why):
            raise QueueFull(f"sbatch: {done.why}")
        if done.code == 0 or _BUSY.search(done.why):
            raise NotNow(f"sbatch: {done.why}")
        raise Refused(f"sbatch refuses {script}: {done.why}")

    def refusal(self, script: Path) -> str:
        """See `Scheduler.refusal`."""
        try:
            done = self._run("sbatch", "--test-only", str(script))
        except NotNow:
            return ""
        passes = done.code == 0 or _FULL.search(done.why) or _BUSY.search(done.why)
        return "" if passes else re.sub(r"^allocation failure: ", "", done.why)

    def states(self) -> Mapping[str, State]:
        """See `Scheduler.states`."""
        shape = "--format=%i|%T|%M|%r|%N|%P|%V|%S|%j"
        done = self._run("squeue", "--me", "--noheader", "--states=all", shape)
        if done.code:
            raise NotNow(f"squeue: {done.why}")
        found = [_state(line) for line in done.out.splitlines()]
        return {one.id: one for one in found if one is not None}

    def ended(self, number: str) -> How | None:
        """See `Scheduler.ended`."""
        done = self._run("scontrol", "show", "job", number, "--oneliner")
        if done.code == 0:
            how = _how(done.out)
            if how is None:
                raise NotNow(f"job {number} has not ended")
            return how
        if not slurm.GONE.search(done.why):
            raise NotNow(f"scontrol: {done.why}")
        return self._from_accounts(number)

    def cancel(self, numbers: Collection[str]) -> None:
        """See `Scheduler.cancel`."""
        if numbers:
            done = self._run("scancel", *sorted(numbers))
            if done.code and not slurm.GONE.search(done.why):
                raise NotNow(f"scancel: {done.why}")

    def _from_accounts(self, number: str) -> How | None:
        """How a job has ended by sacct, which many sites have not; None if it does not say."""
        fields = "State,Reason,ExitCode,ElapsedRaw,NodeList,Partition,Submit,Start"
        words = ("--allocations", "--noheader", "--parsable2", f"--format={fields}")
        try:
            done = self._run("sacct", f"--jobs={number}", *words)
        except NotNow:
            return None
        lines = done.out.splitlines() if done.code == 0 else []
        return _account(lines[-1]) if lines else None

    def _run(self, *argv: str) -> slurm.Answer:
        return slurm.run(*argv, environ=self.environ)


def _state(line: str) -> State | None:
    """One line of squeue; None if it is something else."""
    parts = line.split("|", 8)
    if len(parts) < 9 or not parts[0].isdigit():
        return None  # an array or a message
    number, state, elapsed, reason, nodes, partition, submitted, started, name = parts
    found = State(
        number,
        name,
        state,
        reason,
        slurm.seconds_of(elapsed),
        nodes,
        partition,
        slurm.date(submitted),
    )
    return found if found.waits else replace(found, started=slurm.date(started))  # else an estimate


def _how(text: str) -> How | None:
    """The end of a job from `scontrol show job`; None if it has not ended."""
    names = ("JobState", "Reason", "ExitCode", "RunTime", "NodeList", "Partition")
    state, reason, exits, took, nodes, partition = (slurm.value(text, name) for name in names)
    submitted, started = (slurm.value(text, name) for name in ("SubmitTime", "StartTime"))
    if state not in ENDED:
        return None
    return How(
        state,
        reason,
        *_exit(exits),
        slurm.seconds_of(took),
        nodes,
        partition,
        slurm.date(submitted),
        slurm.date(started),
    )


def _account(line: str) -> How | None:
    """The end of a job from a line of sacct; None if it has not ended."""
    parts = line.split("|")
    state = parts[0].split(" ")[0]  # CANCELLED by 1000
    if len(parts) < 8 or state not in ENDED:
        return None
    seconds = float(parts[3]) if parts[3].isdigit() else 0.0
    times = (slurm.date(text) for text in parts[6:8])
    return How(state, parts[1], *_exit(parts[2]), seconds, parts[4], parts[5], *times)


def _exit(text: str) -> tuple[int, int]:
    """Code and signal of Slurm's CODE:SIGNAL."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
