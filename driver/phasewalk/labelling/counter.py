"""Counts the labels of a round while they are made, for an observer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..campaign import Work
from ..jobs import Event
from ..moment import FAILED_NOW, Seen


@dataclass
class LabelCounter:
    """Shows how many labels are done, and how many have failed so far.

    Attributes:
        names: of the tasks of this try.
        before, lost: frames that were labelled by earlier tries, or that have failed for good.
        tried: this is not the first try.
    """

    work: Work
    names: Sequence[str]
    before: int
    lost: int
    tried: bool
    _failed: dict[str, bool] = field(default_factory=dict)
    """Of the tasks that the journal holds: whether each failed."""
    _counted: int = 0
    _wanted: frozenset[str] = frozenset()
    _all_failed: int = 0

    def __post_init__(self) -> None:
        self._wanted = frozenset(self.names)
        wanted = {name: self.work.store.find(name) for name in self.names}
        self._failed = {n: r.failed for n, r in wanted.items() if r is not None}
        self._all_failed = sum(self._failed.values())
        self._counted = len(self.work.store.since(0))

    def __call__(self, event: Event) -> None:
        """Something has happened, or a moment has passed."""
        self.show()

    def show(self) -> None:
        """Count what the journal holds: only what has come is looked at."""
        for record in self.work.store.since(self._counted):
            self._counted += 1
            if record.task in self._wanted:
                self._all_failed += record.failed - self._failed.get(record.task, False)
                self._failed[record.task] = record.failed
        done = len(self._failed) - self._all_failed
        numbers = {FAILED_NOW: self.lost + (0 if self.tried else self._all_failed)}
        detail = "(again, as declared)" if self.tried else ""
        self.work.observer.advance(self.before + done, detail, Seen(numbers=numbers))
