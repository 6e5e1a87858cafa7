"""Names of stages outside of the rounds, in the output and in the progress of a campaign."""

from dataclasses import dataclass

from ..campaign import Observer
from ..jobs import Event
from ..moment import FREE_ENERGY, NOTHING, Seen
from ..store import SEGMENT


@dataclass(frozen=True)
class Titled:
    """An observer whose stages have another title than a round; see `campaign.Observer`.

    Attributes:
        observer: receives everything.
        title: begins with one that `moment` knows.
        segments: total number of segments.
    """

    observer: Observer
    title: str
    segments: int = 0

    def begin(self, round: int, stage: str, total: float, unit: str) -> None:
        """A stage starts; `round` is the number of a segment, 0 in other stages."""
        what = f"segment {round} of {self.segments}" if stage == SEGMENT else stage
        self.observer.begin(round, f"{self.title}: {what}", total, unit)

    def advance(self, done: float, detail: str, seen: Seen = NOTHING) -> None:
        """The stage has reached `done`."""
        self.observer.advance(done, detail, seen)

    def see(self, event: Event, *, beside: bool = False) -> None:
        """An event of a job."""
        self.observer.see(event, beside=beside)

    def say(self, line: str) -> None:
        """A line to print permanently."""
        self.observer.say(line)


def of_free_energy(observer: Observer, generation: str, segments: int) -> Titled:
    """An observer of the stages of a free energy from a generation."""
    return Titled(observer, f"{FREE_ENERGY} of generation {generation}", segments)
