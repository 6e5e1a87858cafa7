"""Decisions on the start frames of walkers: their record, and the hills that they make inactive."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..bias import Cut
from ..campaign import Work
from ..store import STEER, steer_task

GOOD, BEFORE, START, NEW = "good", "before", "start", "new"
REASONS = BONDS, BREAKDOWN, UNLABELLED, NO_FRAME, END = (
    "bonds",
    "breakdown",
    "no label",
    "no good frame",
    "plumed stop",
)
LATE = ("late_step", "late")
"""Keys of a decision on a frame whose label came late."""


@dataclass(frozen=True)
class Decision:
    """The start frame of a walker in a round, with the numbers behind the decision.

    Attributes:
        walker: id of the walker.
        source: new (first round), good (a good frame of the previous round), before (the first
            frame of the previous round), start (the system's start structure).
        why: reason as text.
        step: step of the good frame; hills deposited after it become inactive.
        force_error_ratio: force RMSE of the model on the walker's last frame, divided by the rms
            force of that frame; None if it was not labelled.
        energy_error_meV_per_atom: error of the model's energy of that frame, without the common
            offset; None if it is not known.
        late_step: the same as `step`, for the round before: hills that led to a frame whose label
            came late, and on which the model is wrong by too much; None if there are none.
        late: this as text.
        reason: why it does not continue from its last frame: `ENERGY` or `FORCE` of
            `walkers.policy`, or one of `REASONS`; empty if it does.
    """

    walker: str
    source: str
    why: str
    step: int | None = None
    force_error_ratio: float | None = None
    energy_error_meV_per_atom: float | None = None
    reason: str = ""
    late_step: int | None = None
    late: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the journal; without what is only said of late labels, if there is none."""
        found = asdict(self)
        return found if self.late else {k: v for k, v in found.items() if k not in LATE}


def cuts(system: str, round_: int, decisions: Sequence[Decision]) -> tuple[Cut, ...]:
    """The hills that become inactive at the start of a round, of the two rounds before it."""
    mine = [one for one in decisions if one.walker.rsplit("-", 1)[0] == system]
    return tuple(
        Cut(one.walker, number, step)
        for one in mine
        for number, step in ((round_ - 1, one.step), (round_ - 2, one.late_step))
        if step is not None
    )


def note(work: Work, round_: int, decisions: Sequence[Decision]) -> None:
    """Record the decisions of a round, unless they are recorded, and print unusual ones."""
    name, found = steer_task(round_), [one.as_dict() for one in decisions]
    record = work.store.find(name)
    noted = None if record is None else record.outputs["walkers"]
    if noted is not None and len(noted) == len(found):
        pairs = zip(noted, found, strict=True)  # earlier versions recorded fewer numbers
        if all(old.items() <= new.items() for old, new in pairs):
            return
    work.note(name, STEER, round_, {"walkers": found})
    for one in decisions:
        if one.source in (BEFORE, START) or ";" in one.why:
            place = {BEFORE: "the start of its last round", START: "the start structure"}
            frame = place.get(one.source, "its last good frame, with new velocities")
            why = "it broke down" if one.source == GOOD else one.why
            work.observer.say(f"{one.walker} continues from {frame}: {why}")
        if one.late not in ("", one.why):
            hills = f"its hills of round {round_ - 2} are inactive"
            work.observer.say(f"{one.walker}: {hills}: {one.late}")
