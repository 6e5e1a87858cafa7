"""What the job of phasewalk itself does: one `phasewalk run`, then, if need be, the next job.

Slurm sends SIGTERM some time before the time limit; phasewalk then stops cleanly, and the same
script is submitted again. FOLDER has `driver.json` and the script, `batch.sh`.
"""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..cluster import NotNow
from ..errors import Interrupted, OutOfTime, PhasewalkError
from ..files import write_file
from ..submitted import CANCELLED, STATE, State
from .batches import SCRIPT, write_number
from .scheduler import WAITS, Scheduler

PLAN, IDLE = "driver.json", "idle.json"
"""Files: the plan; jobs in a row without progress."""
STALE_S = 70.0
"""Time after which the lock of a run that was killed is taken over."""
RETRY_S = 10.0
MOST_IDLE = 2
STOPPED = (Interrupted.exit_code, -15, 143, -9, 137)
"""Exit codes of a run that was asked to stop, or was killed because it did not."""


@dataclass(frozen=True)
class Plan:
    """What is known of the job of phasewalk itself.

    Attributes:
        name: of the job.
        lock: file that a run of the campaign holds, and empties at its end.
        journal: file that grows with each finished task of the campaign.
        steps: its jobs are steps of this job.
        stop_s: time from Slurm's SIGTERM to the time limit.
    """

    name: str
    lock: str
    journal: str
    steps: bool
    stop_s: float


@dataclass(frozen=True)
class Next:
    """What happens after a run: whether the job is submitted again, and why."""

    again: bool
    says: str


def after(code: int, *, asked: bool, state: str, cancelled: bool, idle: int) -> Next:
    """What happens after a run.

    Args:
        code: its exit code; negative for a signal.
        asked: SIGTERM has come.
        state: of this job, Slurm's word; empty if it is not known.
        cancelled: `phasewalk cancel` was called.
        idle: number of jobs in a row, with this one, that have finished no work.
    """
    if code == 0:
        return Next(False, "the campaign has ended")
    if code != OutOfTime.exit_code and not (asked and code in STOPPED):
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Next(
            False, f"phasewalk {how}; it is not submitted again. What it said is in batch.out"
        )
    if cancelled:
        return Next(False, "cancelled (phasewalk cancel)")
    if state in WAITS:
        return Next(False, "Slurm starts this job again itself")
    if state not in ("RUNNING", ""):
        return Next(False, f"Slurm has ended this job ({state}); it is not submitted again")
    if idle >= MOST_IDLE:
        return Next(
            False,
            f"{idle} jobs in a row have finished no work; it is not submitted again. Raise "
            "time_min of driver in the site file",
        )
    return Next(True, "its time is over; it is submitted again")


def again_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the next job: PATH as it was at the first, without modules twice."""
    return {**environ, "PATH": environ.get("PHASEWALK_PATH") or environ.get("PATH", "")}


@dataclass
class Driver:
    """One job of phasewalk itself.

    Attributes:
        folder: with its files.
        plan: what is known of it.
        argv: the command `phasewalk run`.
        number: of this job.
        scheduler: the queue.
        say: prints a line of its own.
        asked: SIGTERM has come.
    """

    folder: Path
    plan: Plan
    argv: Sequence[str]
    number: str
    scheduler: Scheduler
    say: Callable[[str], None]
    asked: bool = False
    _started: float = 0.0
    _run: "subprocess.Popen[bytes] | None" = field(default=None)

    def term(self, *_signal: object) -> None:
        """Hand SIGTERM on to phasewalk."""
        self.asked = True
        if self._run is not None and self._run.poll() is None:
            self._run.send_signal(signal.SIGTERM)

    def main(self) -> int:
        """Run phasewalk, submit this job again if need be, and return the exit code."""
        self._started = time.time()
        self._note("")
        before = self._journal()
        code = self._phasewalk()
        idle = self._idle(before)
        then = after(
            code,
            asked=self.asked,
            state=self._state() if code else "",
            cancelled=self._cancelled(),
            idle=idle,
        )
        self.say(then.says)
        self._note(then.says)
        if not then.again:
            return code if code >= 0 else 128 - code
        return self._again()

    def _note(self, ended: str) -> None:
        """Write what has become of this job, for `phasewalk status`."""
        state = State(self.number, round(self._started, 1), ended)
        with contextlib.suppress(PhasewalkError):  # a full disk ends nothing
            write_file(self.folder / STATE, json.dumps(asdict(state)).encode())

    def _phasewalk(self) -> int:
        self._await_lock()
        if self.asked:
            return Interrupted.exit_code
        self._run = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL)
        if self.asked:  # it came in between
            self.term()
        since: float | None = None
        while True:
            try:
                return self._run.wait(1.0)
            except subprocess.TimeoutExpired:
                since = since or (time.monotonic() if self.asked else None)
                if since and time.monotonic() - since > 0.6 * self.plan.stop_s:
                    self._run.kill()

    def _await_lock(self) -> None:
        """Wait until a run that was killed, with its node, counts as dead."""
        lock, until = Path(self.plan.lock), time.monotonic() + STALE_S
        while _size(lock) and time.monotonic() < until and not self.asked:
            time.sleep(1.0)

    def _journal(self) -> int:
        return _size(Path(self.plan.journal))

    def _idle(self, before: int) -> int:
        """Number of jobs in a row that have finished no work; jobs in a queue may take long."""
        path, idle = self.folder / IDLE, 0
        if self.plan.steps and self._journal() == before:
            try:
                idle = int(json.loads(path.read_bytes())) + 1
            except (OSError, ValueError, TypeError):
                idle = 1
        write_file(path, json.dumps(idle).encode())
        return idle

    def _state(self) -> str:
        for _ in range(5):
            try:
                found = self.scheduler.states().get(self.number)
                return found.state if found else ""
            except NotNow:
                time.sleep(2.0)
        return ""

    def _cancelled(self) -> bool:
        return (self.folder / CANCELLED).exists()

    def _again(self) -> int:
        """Submit the same script, as often as it takes."""
        while not self._cancelled():
            try:
                number = self._successor() or self.scheduler.submit(self.folder / SCRIPT)
            except NotNow as error:
                self.say(f"{error}; tried again in {RETRY_S:g} s")
                time.sleep(RETRY_S)
                continue
            write_number(self.folder, number)
            if self._cancelled():
                self.scheduler.cancel([number])
            self.say(f"the next job is {number}")
            return 0
        self.say("cancelled (phasewalk cancel)")
        return 0

    def _successor(self) -> str | None:
        """The next job, if an attempt without an answer has put it into the queue."""
        for number, state in self.scheduler.states().items():
            if state.name == self.plan.name and number != self.number and not state.ended:
                return number
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
