"""Frames of a segment to label, after it or while other walkers are still running."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms

from ..campaign import Work
from ..errors import UNREADABLE, ParseError
from ..labelling import Frame, bootstrap_frames, label_ahead, late
from ..labels import frame_from_json, frame_to_json, label_key
from ..store import label_task, train_task
from ..structures import bare
from ..walkers import (
    BONDS,
    Candidate,
    NearFrames,
    SegmentPlan,
    Walker,
    WalkerResult,
    outcomes,
    redundant,
    select,
)
from . import steer


def late_proposals(work: Work, round_: int, into: int) -> list[list[Frame]]:
    """The frames of a round's late labels, and older ones of the same walkers.

    Args:
        work: the campaign.
        round_: whose labels are late.
        into: the round whose generation learns them.

    Returns:
        In the order of the record of late labels. If that generation is trained already: only
        what has a label.
    """
    wanted = late.recorded(work.store, round_)
    if not wanted:
        return []
    if round_ == 0:
        by_key = {_key(work, frame): [frame] for frame in bootstrap_frames(work)}
        found = [by_key[one.key] for one in wanted]
    else:
        states = steer.states(work, round_)
        found = [_from_late(work, round_, states[one.walker or ""], one.key) for one in wanted]
    if work.store.find(train_task(into)) is not None:
        labelled = [[f for f in frames if _labelled(work, round_, f)] for frames in found]
        return [frames for frames in labelled if frames]
    return found


def _from_late(work: Work, round_: int, state: steer.State, key: str) -> list[Frame]:
    """A walker's frames from the one whose label is late."""
    frames = _frames(state, round_)
    return frames[[_key(work, frame) for frame in frames].index(key) :]


def _frames(state: steer.State, round_: int) -> list[Frame]:
    """A walker's good frames of a round, the newest first."""
    return [
        _frame(state.walker, state.system, round_, step, bare(atoms))
        for step, atoms in state.frames
    ]


def _key(work: Work, frame: Frame) -> str:
    """Key of the label of a frame."""
    return label_key(frame.atoms, work.campaign.level(frame.system))


def proposals(work: Work, round_: int, known: NearFrames) -> list[list[Frame]]:
    """The frames of each walker to label, but for what is known already, or late."""
    settings = work.campaign.settings.candidates
    learned = work.store.find(train_task(round_)) is not None
    seen = NearFrames(known)
    found = []
    for state in steer.states(work, round_).values():
        frames = _frames(state, round_)
        if learned:  # whatever `candidates` says by now: those that the round has labelled
            frames = [frame for frame in frames if _labelled(work, round_, frame)]
            found += [frames] if frames else []
            continue
        if not frames:
            continue
        same = redundant(frames[0].atoms, seen, settings)
        if same is None:
            found.append(frames)
            seen.add(frames[0].atoms)
        else:
            work.observer.say(f"{state.walker}: frame not labelled: {same}")
    return found


def _labelled(work: Work, round_: int, frame: Frame) -> bool:
    """Whether the round has a label of this frame."""
    record = work.store.find(label_task(_key(work, frame), round_))
    return record is not None and not record.failed


def chosen(work: Work, plan: SegmentPlan, walker: Walker, outcome: WalkerResult) -> Candidate:
    """The candidate of a walker, and older frames."""
    return select(
        walker.id,
        walker.system,
        frames=_usable(plan, walker, outcome),
        start=work.campaign.structures[walker.system],
        settings=work.campaign.settings.candidates,
        timestep_fs=plan.settings.timestep_fs,
        guard=plan.guards.get(walker.system),
    )


@dataclass
class Early:
    """Starts the label of a walker's frame when the walker has ended, while others run.

    Attributes:
        work, plan: whose segment it is.
        seen: frames that are labelled, and those whose label was started here.
        ended: walkers that have ended.
    """

    work: Work
    plan: SegmentPlan
    seen: NearFrames
    ended: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, work: Work, plan: SegmentPlan, known: NearFrames) -> "Early":
        """For a segment that begins, with all labels from before it, and frames of late ones."""
        return cls(work, plan, NearFrames(known))

    def look(self, launch: SegmentPlan, running: Sequence[bool], directory: Path) -> None:
        """Start what can be started.

        Args:
            launch: of some of the walkers, or of all.
            running: of each of its walkers, whether it may still run.
            directory: of the launch.
        """
        for partition, walker in enumerate(launch.walkers):
            if running[partition] or walker.id in self.ended:
                continue
            outcome = None
            with contextlib.suppress(ParseError, *UNREADABLE):  # read again when all have ended
                outcome = outcomes.ended(launch, partition, directory)
            if outcome is None:
                continue
            self.ended.add(walker.id)
            left = sum(one.id not in self.ended for one in launch.walkers)
            self.work.under_way.narrow(directory, max(1, left) * launch.ranks)
            if len(self.ended) < len(self.plan.walkers):
                self._start(walker, outcome)

    def _start(self, walker: Walker, outcome: WalkerResult) -> None:
        candidate = chosen(self.work, self.plan, walker, outcome)
        if candidate.atoms is None:
            return
        # The same numbers as after reading its file, so that the label has the same key.
        atoms = bare(frame_from_json(frame_to_json(candidate.atoms)))
        if redundant(atoms, self.seen, self.work.campaign.settings.candidates) is not None:
            return
        self.seen.add(atoms)
        label_ahead(
            self.work,
            self.plan.round,
            _frame(walker.id, walker.system, self.plan.round, candidate.step, atoms),
        )


def _usable(plan: SegmentPlan, walker: Walker, outcome: WalkerResult) -> list[tuple[int, Atoms]]:
    """Frames that may become a candidate: without the first frame and those before a breakdown."""
    breakdown_fs = plan.settings.breakdown_fs
    if outcome.stop is not None and outcome.stop.reason in BONDS:  # the change began earlier
        breakdown_fs += plan.settings.bond_change_fs
    breakdown = round(breakdown_fs / plan.settings.timestep_fs)
    last = outcome.last_step - (breakdown if outcome.broke else 0)
    good = outcome.stop.good_step if outcome.stop else None
    return [
        (frame.step, frame.atoms)
        for frame in outcome.frames
        if walker.step < frame.step and (frame.step <= last or frame.step == good)
    ]


def _frame(walker: str, system: str, round_: int, step: int, atoms: Atoms) -> Frame:
    origin = {"system": system, "round": round_, "walker": walker, "step": step}
    return Frame(atoms, system, origin)
