"""Late labels: a generation is trained without them, and they join the training of the next.

Which labels are late is decided once, by the time that they take, and is in the journal before the
training begins: from then on the record decides, whenever the labels are finished.
"""

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import labels
from ..campaign import Work
from ..jobs import Event, Finished, Running, seconds_of
from ..store import (
    LABEL,
    LATE,
    Labelled,
    Late,
    LateLabel,
    Record,
    Store,
    label_task,
    late_task,
    train_task,
)
from .bootstrap import Frame

MIN_FINISHED_SHARE = 0.5
"""Of a round's labels; before so many are finished, none is late."""


def recorded(store: Store, round_: int) -> list[LateLabel]:
    """The late labels of a round, as the journal has them; none if all were waited for."""
    record = store.find(late_task(round_))
    return [] if record is None else record.of(Late).labels


def without(
    work: Work, round_: int, proposals: Sequence[Sequence[Frame]]
) -> Sequence[Sequence[Frame]]:
    """The frames of each walker, but for walkers (of the bootstrap: frames) with a late label."""
    found = recorded(work.store, round_)
    if not found:
        return proposals
    walkers, keys = {one.walker for one in found} - {None}, {one.key for one in found}
    return [
        frames
        for frames in proposals
        if frames[0].origin.get("walker") not in walkers
        and labels.label_key(frames[0].atoms, work.campaign.level(frames[0].system)) not in keys
    ]


def note(work: Work, round_: int, frames: Sequence[Frame]) -> None:
    """Journal, and say, that the labels of these frames are late."""
    found = [
        {
            "key": labels.label_key(frame.atoms, work.campaign.level(frame.system)),
            "walker": frame.origin.get("walker"),
        }
        for frame in frames
    ]
    work.note(late_task(round_), LATE, round_, {"labels": found})
    work.observer.say(
        f"round {round_}: {len(found)} label(s) are late (reference.late_factor); generation "
        f"{round_} is trained without, and they join the next"
    )


@dataclass
class Patience:
    """Whether a round has waited long enough for its last labels.

    Attributes:
        work, round_: whose labels.
        count: number of the round's labels.
        factor: see `reference.late_factor`.
    """

    work: Work
    round_: int
    count: int
    factor: float
    _read: int = 0
    _done: set[str] = field(default_factory=set)
    _took: list[float] = field(default_factory=list)
    _running: dict[Path, float] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Work, round_: int, count: int) -> "Patience | None":
        """For a round; None if all labels are waited for, or if it was decided before."""
        factor = work.campaign.settings.reference.late_factor
        decided = any(work.store.find(task) for task in (late_task(round_), train_task(round_)))
        return None if factor is None or decided else cls(work, round_, count, factor)

    def see(self, event: Event) -> None:
        """How long a label has run so far."""
        if isinstance(event, Running):
            self._running[event.job.directory] = event.seconds
        elif isinstance(event, Finished):
            self._running.pop(event.directory, None)

    def over(self, left: Collection[Path]) -> bool:
        """Whether all labels that are left are late.

        Args:
            left: directories of their jobs. One that does not run yet is not late.
        """
        self._count()
        if not self._took or len(self._done) < self._least():
            return False
        limit = self.factor * statistics.median(self._took)
        return all(self._running.get(place, 0.0) > limit for place in left)

    def _least(self) -> float:
        """Labels that must be finished: the first generation also needs one for validation."""
        least = MIN_FINISHED_SHARE * self.count
        every = self.work.campaign.settings.validation_every
        return least if self.round_ else max(least, every)

    def _count(self) -> None:
        """Read what the journal has got: which labels are finished, and their seconds."""
        for record in self.work.store.since(self._read):
            self._read += 1
            if record.stage == LABEL and record.round == self.round_ and not record.failed:
                self._done.add(record.task)
                seconds = self._seconds(record)
                self._took += [] if seconds is None else [seconds]

    def _seconds(self, record: Record) -> float | None:
        """How long a label took; None if it was not computed here."""
        if record.cores:
            return record.seconds
        # Found after a kill: its record does not say, but its directory does.
        return seconds_of(self.work.store.root / record.of(Labelled).place)


def tasks(work: Work, round_: int) -> list[str]:
    """Names of the tasks of late labels that may still run while a round is labelled."""
    return [
        label_task(label.key, of)
        for of in (round_ - 1, round_)
        for label in recorded(work.store, of)
    ]
