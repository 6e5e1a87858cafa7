"""What is known of the queue: asked for all jobs at once, and not too often."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..cluster import NotNow
from ..errors import EngineFailed
from .scheduler import How, Scheduler, State

SILENT_S = 600.0
"""Time after which a queue that does not answer is an error, if nothing can go on without it."""


class Clock(Protocol):
    """What is known of time."""

    def now(self) -> float:
        """Seconds since any moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(seconds)


@dataclass
class Queue:
    """The queue of a scheduler, as it was when it was last asked.

    Attributes:
        scheduler: that is asked.
        clock: of this process.
        poll_s: time between two questions.
        states: number → state of all batch jobs of this user; None if they are not known now.
        silent: why they are not known, or why a job could not be submitted.
    """

    scheduler: Scheduler
    clock: Clock
    poll_s: float
    states: Mapping[str, State] | None = None
    silent: str = ""
    _asked: float | None = None
    _unwanted: set[str] = field(default_factory=set)

    @property
    def left_s(self) -> float:
        """Time until the next question."""
        now = self.clock.now()
        if self._asked is None:
            self._asked = now
        return max(0.0, self._asked + self.poll_s - now)

    def ask(self) -> None:
        """Ask for the states of all batch jobs; and cancel those that could not be cancelled."""
        self._asked = self.clock.now()
        try:
            self.states, self.silent = self.scheduler.states(), ""
        except NotNow as error:
            self.states, self.silent = None, str(error)
        if self._unwanted:
            self.cancel()

    def named(self, name: str) -> str | None:
        """Number of the batch job with a name; None if there is none. Waits for an answer."""
        until = self.clock.now() + SILENT_S
        while self.states is None:
            self.ask()
            if self.states is None and self.clock.now() > until:
                raise EngineFailed(
                    f"the queue does not answer ({self.silent}), so that it is not known which "
                    "jobs are there; run the same command again later, nothing is lost"
                )
            if self.states is None:
                self.clock.sleep(self.poll_s)
        found = [number for number, state in self.states.items() if state.name == name]
        return max(found, key=int) if found else None

    def state(self, number: str, name: str) -> State | None:
        """State of a batch job; None if the queue has none of this number and name.

        A controller that lost its files gives numbers again, to other batch jobs.
        """
        found = (self.states or {}).get(number)
        return found if found is not None and found.name == name else None

    def ended(self, number: str, last: State | None) -> How | None:
        """How a batch job has ended; None if it is not known any more; raises NotNow.

        Args:
            number: of the batch job.
            last: its state, if the queue still has it.
        """
        if last is None and number in (self.states or {}):
            return None  # another one has its number
        how = self.scheduler.ended(number) if number else None
        if how is None and last is not None:
            return How(
                last.state,
                last.reason,
                nodes=last.nodes,
                partition=last.partition,
                submitted=last.submitted,
                started=last.started,
            )
        return how

    def cancel(self, *numbers: str) -> None:
        """Cancel batch jobs; if there is no answer, that is done at the next question."""
        self._unwanted |= set(numbers)
        try:
            self.scheduler.cancel(self._unwanted)
        except NotNow:
            return
        self._unwanted.clear()
