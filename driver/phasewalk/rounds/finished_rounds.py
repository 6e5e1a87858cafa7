"""What finished rounds have left, from their records: a resume neither replays nor prints them.

A round is finished if its generation was trained on just the labels that its records name (those of
the round but for late ones, and the late ones of the round before), and was deployed, proved and
evaluated. Anything else goes the way of a round that is not finished,
which does what is left, or says what has changed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import labelling
from ..campaign import Work
from ..errors import ParseError
from ..generations import Generation, inputs, learn
from ..generations import known as known_labels
from ..labels import Label
from ..store import LABEL, Labelled, Record, Segment, segment_task, train_task


@dataclass(frozen=True)
class Learned:
    """State after a finished round.

    Attributes:
        known: all labels, in the order of the campaign.
        new: labels of the round.
        generation: the generation trained on them; None if the round had no new label.
    """

    known: list[Label]
    new: list[Label]
    generation: Generation | None


@dataclass(frozen=True)
class Past:
    """The label records of a campaign, by round; `held`: keys of labels that are held out."""

    work: Work
    _labels: dict[int, list[Record]] = field(default_factory=dict)
    held: frozenset[str] = frozenset()

    @classmethod
    def of(cls, work: Work) -> "Past":
        """Read the records from the journal."""
        found: dict[int, list[Record]] = defaultdict(list)
        for record in work.store.records():
            if record.stage == LABEL and not record.failed:
                found[record.round].append(record)
        return cls(work, dict(found), known_labels.held_out(work.store))

    def bootstrap(self, initial: Sequence[Label]) -> Learned | None:
        """The state after the bootstrap; None if it is not finished."""
        systems = list(self.work.campaign.structures)
        late = {one.key for one in labelling.late.recorded(self.work.store, 0)}
        labels = [record.of(Labelled) for record in self._labels.get(0, ())]
        origins = {label.key: label.origin for label in labels if label.key not in late}
        if any(origin.get("system") not in systems for origin in origins.values()):
            return None
        keys = sorted(
            origins, key=lambda key: (systems.index(origins[key]["system"]), origins[key]["index"])
        )
        return self._learned(0, [], keys, first=initial, previous=None)

    def round(self, number: int, known: Sequence[Label], previous: Generation) -> Learned | None:
        """The state after a round; None if it is not finished.

        Args:
            number: number of the round.
            known: all labels before the round.
            previous: the generation before the round.
        """
        segment = self.work.store.find(segment_task(number))
        if segment is None:
            return None
        late = {one.walker for one in labelling.late.recorded(self.work.store, number)}
        walkers = [entry.walker for entry in segment.of(Segment).walkers]
        found = self._by_walker(number)
        keys = [found[walker] for walker in walkers if walker in found and walker not in late]
        keys = [*self._late(number - 1), *keys]
        if not keys:
            return Learned(list(known), [], None)
        return self._learned(number, known, keys, first=(), previous=previous)

    def _by_walker(self, number: int) -> dict[str, str]:
        """The label of each walker in a round: of the last of its frames that has one."""
        steps: dict[str, tuple[int, str]] = {}
        for record in self._labels.get(number, ()):
            label = record.of(Labelled)
            step = int(label.origin["step"]), label.key
            walker = label.origin["walker"]
            steps[walker] = max(step, steps.get(walker, step))
        return {walker: key for walker, (_, key) in steps.items()}

    def _late(self, number: int) -> list[str]:
        """The late labels of a round, as far as they are finished."""
        late = labelling.late.recorded(self.work.store, number)
        if not late:
            return []
        made = {record.of(Labelled).key for record in self._labels.get(number, ())}
        found = {} if number == 0 else self._by_walker(number)
        keys = [found.get(one.walker or "", one.key) for one in late]
        return [key for key in keys if key in made]

    def _learned(
        self,
        number: int,
        known: Sequence[Label],
        keys: Sequence[str],
        *,
        first: Sequence[Label],
        previous: Generation | None,
    ) -> Learned | None:
        name = train_task(number)
        all_keys = [*(label.key for label in (*known, *first)), *keys]
        all_keys = [key for key in all_keys if key not in self.held]
        before = previous.checkpoint_hash if previous else None
        if self.work.store.done(name, inputs.of(all_keys, before, str(number))) is None:
            return None
        new = [*first, *(self._label(key) for key in keys)]
        everything = [*known, *new]
        generation = learn.learned(
            self.work, number, known=everything, new=new if previous else [], previous=previous
        )
        return None if generation is None else Learned(everything, new, generation)

    def _label(self, key: str) -> Label:
        label = self.work.store.label(key)
        if label is None:
            path = self.work.store.root / "labels" / f"{key}.json"
            raise ParseError(path, "is missing, but the journal holds it; restore it from a backup")
        return label
