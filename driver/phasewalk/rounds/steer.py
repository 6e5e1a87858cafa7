"""Determine the start frame of each walker from its last frames, their labels, and the policy."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict

from .. import bias, labelling, labels, walkers
from ..bias import Cut, HillsRecord, HillsTable, History, HistoryFile, Mark, hill_tables, sharing
from ..campaign import Work, begun
from ..errors import ParseError
from ..files import made_by, read
from ..generations import known
from ..store import (
    Evaluated,
    Segment,
    Steered,
    evaluate_task,
    label_task,
    segment_task,
    steer_task,
)
from ..structures import bare
from ..walkers import ENDED, FrameError, Walker, lammps_frame, policy
from .decision import (
    BEFORE,
    BONDS,
    BREAKDOWN,
    END,
    GOOD,
    NEW,
    NO_FRAME,
    START,
    UNLABELLED,
    Decision,
    cuts,
)


@dataclass(frozen=True)
class State:
    """State of a walker after a round; see `state_json`."""

    walker: str
    system: str
    next_step: int
    broke: bool
    frames: list[tuple[int, Atoms]]
    came_from: tuple[int, Atoms]


def walker_id(system: str, index: int) -> str:
    """Name of a walker: its system and its number there, from 0."""
    return f"{system}-{index}"


def stand(work: Work, round_: int) -> tuple[list[Walker], list[Decision]]:
    """All walkers at the start of a round, and the decisions on their start frames."""
    before = states(work, round_ - 1)
    step = max((entry.next_step for entry in before.values()), default=0)
    found, decisions = [], []
    for name, index in _roster(work, round_):
        identifier = walker_id(name, index)
        entry = before.get(identifier)
        decision = decide(work, round_ - 1, identifier, entry)
        if entry is not None:
            decision = _after_late(work, round_ - 1, entry, decision)
        atoms = start_frame(work, name, entry, decision)
        guard = work.guards.get(name)
        fault = guard.fault(atoms) if guard is not None and decision.source != START else None
        if fault is not None:
            decision = replace(decision, source=START, why=fault, reason=BONDS)
            atoms = start_frame(work, name, entry, decision)
        found.append(Walker(identifier, name, index, atoms, step))
        decisions.append(decision)
    return found, decisions


def states(work: Work, round_: int) -> dict[str, State]:
    """States of the walkers after a round, by walker."""
    path = _kept(work, round_, states_file(round_))
    return {} if path is None else {state.walker: state for state in read_states(path)}


def states_file(round_: int) -> str:
    """File with the states of the walkers after a round."""
    return f"rounds/{round_:03d}/walkers.json"


def hills_file(system: str, round_: int) -> str:
    """File with the hills of a system after a round."""
    return f"bias/{system}/round-{round_:03d}.tsv"


def _kept(work: Work, round_: int, name: str) -> Path | None:
    """Path of an output file of a round's segment; None if there is none."""
    return work.store.checked(name) if _left(work, round_, name) else None


def _left(work: Work, round_: int, name: str) -> bool:
    """Whether a round's segment has written a file with this name."""
    segment = work.store.find(segment_task(round_))
    return segment is not None and name in segment.files


def _moving(data: Mapping[str, Any]) -> Atoms:
    """A frame from JSON, with velocities if they are kept."""
    atoms = labels.frame_from_json(data)
    if data.get("velocities") is not None:
        velocities = np.array(data["velocities"], dtype=float)
        if velocities.shape != atoms.positions.shape or not np.isfinite(velocities).all():
            raise ValueError("velocities are not finite, or their shape is wrong")
        atoms.set_velocities(velocities)
    return atoms


class _Moment(BaseModel):
    """A step with its frame."""

    model_config = ConfigDict(strict=True, extra="forbid")

    step: int
    frame: Annotated[Atoms, made_by(_moving)]


class _State(BaseModel):
    """State of a walker after a round, as stored in a file; see `state_json`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    walker: str
    system: str
    next_step: int
    broke: bool
    frames: list[_Moment]
    came_from: _Moment

    def state(self) -> State:
        """The state as used by the loop."""
        frames = [(one.step, one.frame) for one in self.frames]
        came_from = (self.came_from.step, self.came_from.frame)
        return State(self.walker, self.system, self.next_step, self.broke, frames, came_from)


def read_states(path: Path) -> list[State]:
    """Read the states of the walkers after a round; ParseError if the file cannot be read."""
    return [one.state() for one in read(path, list[_State])]


def state_json(
    walker: Walker, *, next_step: int, frames: Sequence[tuple[int, Atoms]], broke: bool
) -> dict[str, Any]:
    """State of a walker for the next round, as data for JSON.

    Args:
        walker: the walker at the start of the round.
        next_step: step counter at the start of the next round; equal for all walkers, so that the
            times of hills are monotonic.
        frames: good frames, the newest first.
        broke: it was stopped because of a breakdown.
    """
    return {
        "walker": walker.id,
        "system": walker.system,
        "next_step": next_step,
        "broke": broke,
        "frames": [{"step": step, "frame": _frame_json(atoms)} for step, atoms in frames],
        "came_from": {"step": walker.step, "frame": _frame_json(walker.atoms)},
    }


def decide(work: Work, round_: int, walker: str, entry: State | None) -> Decision:
    """Decide from which frame a walker continues after a round."""
    if entry is None:
        return Decision(walker, NEW, "its first round")
    settings = work.campaign.settings.policy
    frames, broke = entry.frames, "it broke down"
    if not frames:
        # not the first frame of the round, from which the walker would break down repeatedly
        return Decision(walker, START, "no frame of its last round was good", reason=NO_FRAME)
    tasks = [_label(work, round_, entry, atoms) for _, atoms in frames]
    outcomes = [work.store.find(task) for task in tasks]
    # A late label counts as one, whatever became of it: nobody knew when the walker went on.
    late = {label_task(label.key, round_) for label in labelling.late.recorded(work.store, round_)}
    labelled = [
        i
        for i, (task, found) in enumerate(zip(tasks, outcomes, strict=True))
        if task in late or (found and not found.failed)
    ]
    failed = sum(found is not None and found.failed for found in outcomes)
    if failed and not labelled:
        why = f"{failed} of its frames could not be labelled"
        after = settings.after_failed_label
        return Decision(walker, after, why, entry.came_from[0], reason=UNLABELLED)
    chosen = labelled[0] if labelled else 0
    step = frames[chosen][0]
    if _ended(work, round_, walker):
        # there it would end at once
        why = "it reached the end that its PLUMED text names"
        return Decision(walker, START, why, step, reason=END)
    error = frame_error(work, round_, walker) if labelled else FrameError()
    decision = Decision(walker, GOOD, "", step, error.force_ratio, error.energy_meV_per_atom)
    too_large = policy.reset(error, settings.limits())
    if too_large is not None:
        first = begun.first_segment(work.store)
        if first is not None and first.limits is not None:  # earlier versions kept the hills
            step = entry.came_from[0]
        return replace(decision, source=START, why=too_large.says, step=step, reason=too_large.kind)
    if entry.broke and settings.after_breakdown != GOOD:
        elsewhere = settings.after_breakdown
        return replace(decision, source=elsewhere, why=broke, reason=BREAKDOWN)
    why = "its last good frame" if chosen == 0 else f"its good frame {chosen + 1} from the last"
    return replace(decision, why=f"{why}; {broke}" if entry.broke else why)


def _after_late(work: Work, round_: int, entry: State, decision: Decision) -> Decision:
    """The decision after a round, if the label of a frame of the round before it came late.

    It is judged as others are, by the generation that continued from the frame without its label.
    If the walker began the round there, all that it did since belongs to the same excursion.
    """
    if not any(
        label.walker == decision.walker for label in labelling.late.recorded(work.store, round_ - 1)
    ):
        return decision
    first = begun.first_segment(work.store)
    wrong = frame_error(work, round_, decision.walker, late=True)
    too_large = policy.reset(wrong, work.campaign.settings.policy.limits())
    record = work.store.find(steer_task(round_))
    if too_large is None or record is None or first is None or first.limits is None:
        return decision
    began = {one.walker: one for one in record.of(Steered).walkers}[decision.walker]
    if began.reason == END:  # as if the label had been there in time
        return decision
    told = f"the label of its frame of round {round_ - 1} came late: {too_large.says}"
    started = states(work, round_ - 1)[decision.walker].came_from[0]
    decision = replace(decision, late_step=started, late=told)
    if began.source != GOOD:
        return decision
    since, kind = entry.came_from[0], too_large.kind
    return replace(decision, source=START, why=told, step=since, reason=kind)


def _label(work: Work, round_: int, entry: State, atoms: Atoms) -> str:
    """Name of the task that labels a frame of a walker."""
    at = work.campaign.level(entry.system)
    return label_task(labels.label_key(bare(atoms), at), round_)


def _ended(work: Work, round_: int, walker: str) -> bool:
    """Whether PLUMED stopped a walker (COMMITTOR)."""
    segment = work.store.find(segment_task(round_))
    made = None if segment is None else segment.made  # of a free energy, `segment 0` only begins
    entries = made.walkers if isinstance(made, Segment) else []
    stops = [entry.stop for entry in entries if entry.walker == walker]
    return any(stop is not None and stop.reason == ENDED for stop in stops)


def frame_error(work: Work, round_: int, walker: str, *, late: bool = False) -> FrameError:
    """Errors of the walker's model on its last frame; or on that of a label that came late."""
    segment = work.store.find(segment_task(round_))
    number = segment.of(Segment).generation if segment is not None else None
    found = None if number is None else work.store.find(evaluate_task(number, round_))
    each = [] if found is None else found.of(Evaluated).each
    mine = (entry for entry in each if (entry.walker, entry.late) == (walker, late))
    return next(map(known.errors_of, mine), FrameError())


def _roster(work: Work, round_: int) -> list[tuple[str, int]]:
    """System and index of each walker of a round: from the journal, or else from the settings."""
    record = work.store.find(segment_task(round_))
    if record is not None:
        names = [(entry.system, entry.walker) for entry in record.of(Segment).walkers]
        return [(system, int(walker.rsplit("-", 1)[1])) for system, walker in names]
    systems = work.campaign.settings.systems
    return [(name, index) for name in systems for index in range(systems[name].walkers)]


def start_frame(work: Work, system: str, entry: State | None, decision: Decision) -> Atoms:
    """The atoms from which a walker starts, without velocities if they are to be drawn."""
    if entry is None or decision.source == START:
        return walkers.reduce_cell(lammps_frame(work.campaign.structures[system]))
    if decision.source == BEFORE:
        return bare(entry.came_from[1])
    (atoms,) = (atoms for step, atoms in entry.frames if step == decision.step)
    return walkers.reduce_cell(bare(atoms) if entry.broke else atoms)  # velocities were part of it


def _frame_json(atoms: Atoms) -> dict[str, Any]:
    """A frame with its velocities (ASE units; null if they are to be drawn)."""
    velocities = atoms.get_velocities() if atoms.has("momenta") else None
    return {
        **labels.frame_to_json(atoms),
        "velocities": None if velocities is None else velocities.tolist(),
    }


def hills(work: Work, system: str, round_: int, decisions: Sequence[Decision]) -> HillsRecord:
    """All hills of a system before the round.

    Hills that a walker deposited after the frame from which it continues become inactive.
    """
    record = hill_tables.record(_tables(work, system, round_)) or HillsRecord(system)
    return bias.deactivate(record, cuts(system, round_, decisions))


def hills_digest(
    work: Work, system: str, round_: int, decisions: Sequence[Decision]
) -> tuple[list[str], list[Cut]]:
    """Represents all hills of a system before the round in a hash, without reading them.

    Returns:
        SHA-256 of the table of each round, and the hills that become inactive.
    """
    names = [(earlier, hills_file(system, earlier)) for earlier in range(1, round_)]
    digests = [work.store.digest(name) for earlier, name in names if _left(work, earlier, name)]
    return digests, list(cuts(system, round_, decisions))


def history(work: Work, system: str, round_: int, decisions: Sequence[Decision]) -> History:
    """The files of hills with which the walkers of a system start a round.

    They consist of the files of the previous round and of its active hills. If a file differs from
    its recorded state, all files are written again from the tables.
    """
    before = next(_tables(work, system, round_), None)
    apart = work.campaign.settings.systems[system].bias_sharing == "own"
    if before is None:
        return History(apart=apart)
    inactive, laid = cuts(system, round_, decisions), before.laid
    late = any(cut.round < round_ - 1 for cut in inactive)  # of hills that the files have already
    if late:
        laid = hill_tables.record(_tables(work, system, round_)) or laid
    inactive = bias.effective(laid, inactive)
    found = History(before.laid.headers, {}, before.total, inactive, apart)
    if not (late or before.whole) and before.apart == apart:
        laid = bias.deactivate(laid, inactive)
        with suppress(ParseError):  # a file is damaged or missing
            return replace(found, files=_grown(work, laid, apart=apart, began=before.began))
    everything = hills(work, system, round_, decisions)
    return replace(found, files=_grown(work, everything, apart=apart, began={}))


def _grown(
    work: Work, laid: HillsRecord, *, apart: bool, began: Mapping[str, Mark]
) -> dict[str, HistoryFile]:
    """Append hills to the files.

    Args:
        work: the campaign.
        laid: the hills to append.
        apart: one file per walker.
        began: size and hash of each file before.

    Raises:
        ParseError: a file differs from its recorded size or hash.
    """
    new, files = sharing.texts(laid, apart=apart), {}
    for key in {**began, **new}:
        text, mark = new.get(key, ""), began.get(key, Mark(0, ""))
        if mark.size:  # the file already has its header
            text = text.removeprefix(bias.header(laid, action=key.rpartition(".")[2]))
        name = f"bias/{laid.system}/history/{key}.hills"
        content = text.encode()
        digest = work.store.extend(name, mark.size, mark.digest, content)
        end = Mark(mark.size + len(content), digest)
        files[key] = HistoryFile(work.store.root / name, end)
    return files


def _tables(work: Work, system: str, round_: int) -> Iterator[HillsTable]:
    """The tables of hills before a round, the newest first."""
    for earlier in range(round_ - 1, 0, -1):
        path = _kept(work, earlier, hills_file(system, earlier))
        if path is not None:
            yield hill_tables.read(path)
