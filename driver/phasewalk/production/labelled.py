"""Label frames of a frozen run, spread evenly over cells, with the campaign's reference.

The labels are tasks of the store of the free energy, as its segments are, so that an interrupted
call can be continued. Labels that exist in the campaign or in the cache are not computed again.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .. import labelling, labels
from ..bias import dumps
from ..campaign import Work
from ..errors import InputError
from ..files import read
from ..free_energies import Against, Answered, FreeEnergy, Grid, cells, correction
from ..generations import Generation, evaluate
from ..labelling import Frame
from ..labels import Label
from ..store import LABEL, Labelled, each, failures, read_campaign
from ..structures import bare, carried
from ..units import KJ_PER_MOL_PER_EV
from .samples import Biased, Piece, kept

Array = NDArray[np.float64]
Place = tuple[str, int, int]
"""Walker, segment and step of a frame."""
PASSES = 3
"""Number of times that frames whose labels failed are replaced by others."""


@dataclass(frozen=True)
class Walked:
    """A system with its samples and its free energy."""

    of: Biased
    free: FreeEnergy
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class _Sampled:
    """A frame of a dump, and the (d,) values of the variables."""

    place: Place
    values: Array
    atoms: Atoms


def compare(
    campaign: Work, frozen: Work, generation: Generation, walked: Sequence[Walked], count: int
) -> dict[str, Against]:
    """Label frames of each system, up to a total number, and compare model and reference.

    Args:
        campaign: the campaign of the generation; it is only read.
        frozen: the run with the fixed model.
        generation: whose model was used.
        walked: the systems of the run.
        count: total number of labels of each system; 0: use existing ones only.

    Returns:
        The comparison by system; systems without labels are omitted.

    Raises:
        InputError: all labels failed, or the dumps were deleted.
    """
    grids: dict[str, Grid] = {}
    for one in walked:
        known = _labels(frozen, one.of.name)
        grids[one.of.name] = cells.grid(one.free, max(count, len(known)))
        if count > len(known):
            _label(campaign, frozen, one, grids[one.of.name], count)
    found = {one.of.name: _labels(frozen, one.of.name) for one in walked}
    everything = list(chain.from_iterable(found.values()))
    if not everything:
        return {}
    # with several systems, it is not known of which a failed label was
    failed = sum(1 for _ in failures(frozen.store.records(), LABEL)) if len(walked) == 1 else 0
    said = _model_energies(frozen, generation, everything)
    result = {}
    for one in walked:
        if mine := found[one.of.name]:
            answered = _answered(one, mine, said)
            result[one.of.name] = correction.against(
                one.free,
                answered,
                over=grids[one.of.name],
                atoms=len(mine[0].atoms),
                failed=failed,
            )
    return result


def learnable(root: Path, compared: Mapping[str, Against]) -> list[Label]:
    """Labels of a free energy for training: those of intact walkers.

    Args:
        root: directory of the free energy.
        compared: the comparison by system.
    """
    store = read_campaign(root)
    found = []
    for _, made in each(store.records(), Labelled):
        against = compared.get(str(made.origin.get("system")))
        label = store.label(made.key)
        if against and label and str(made.origin["walker"]) not in against.broken:
            found.append(label)
    return found


def _labels(frozen: Work, system: str) -> list[Label]:
    """Existing labels of a system, in the order in which they were computed."""
    keys = [
        made.key
        for _, made in each(frozen.store.records(), Labelled)
        if made.origin.get("system") == system
    ]
    found = (frozen.store.label(key) for key in keys)
    return [label for label in found if label is not None]


def _label(campaign: Work, frozen: Work, one: Walked, over: Grid, count: int) -> None:
    """Label frames until there are enough labels or no more frames."""
    at = frozen.campaign.level(one.of.name)
    frames = _frames(frozen, one)
    keys = {frame.place: labels.label_key(frame.atoms, at) for frame in frames}
    for _ in range(PASSES):
        known = _labels(frozen, one.of.name)
        tried = {r.task.split()[1] for r in frozen.store.records() if r.stage == LABEL}
        taken = Counter(over.cell_of(_values(one, known)).tolist() if known else ())
        new = [frame for frame in frames if keys[frame.place] not in tried]
        chosen = spread(new, over, count - len(known), taken)
        if not chosen:
            return
        for frame in chosen:
            before = campaign.store.label(keys[frame.place])
            if before is not None:
                frozen.store.add_label(before)
        asked = [_asked(one.of.name, frame) for frame in chosen]
        made = labelling.label_frames(frozen, 0, asked)
        if not any(made) and not known:
            reasons = [failure.reason for _, failure in failures(frozen.store.records(), LABEL)]
            raise InputError(
                f"{one.of.name}: none of {len(chosen)} frames could be labelled: {reasons[-1]}"
            )
        if all(made):
            return


def _asked(system: str, frame: _Sampled) -> Frame:
    walker, round_, step = frame.place
    origin = {"system": system, "round": round_, "walker": walker, "step": step}
    return Frame(frame.atoms, system, origin)


def _frames(frozen: Work, one: Walked) -> list[_Sampled]:
    """All frames in the dumps, without the discarded first part.

    Raises:
        InputError: there are none.
    """
    structure, found, gone = frozen.campaign.structures[one.of.name], [], 0
    for piece in kept(one.pieces):
        folder = frozen.store.root / f"rounds/{piece.round:03d}/segment"
        path = folder / f"{piece.walker}.dump"
        gone += not path.is_file()
        for frame in dumps.read_dump(path, frozen.campaign.types) if path.is_file() else ():
            values = _nearest(piece, frame.step)
            if values is not None:
                atoms = carried.like(bare(frame.atoms), structure)
                found.append(_Sampled((piece.walker, piece.round, frame.step), values, atoms))
    if not found:
        raise InputError(
            f"{frozen.store.root}: no frame of {one.of.name} to label"
            + (f" ({gone} dumps were deleted)" if gone else "")
            + "; use more --segments"
        )
    return found


def _nearest(piece: Piece, step: int) -> Array | None:
    """Values of the variables printed nearest to a step; None outside of the piece."""
    stride = int(np.median(np.diff(piece.steps))) if len(piece.steps) > 1 else 0
    if not len(piece.steps) or not piece.steps[0] <= step <= piece.steps[-1] + stride // 2:
        return None
    found: Array = piece.values[int(np.abs(piece.steps - step).argmin())]
    return found


def spread(
    frames: Sequence[_Sampled], over: Grid, count: int, taken: Mapping[int, int]
) -> list[_Sampled]:
    """Choose frames that fill the cells evenly; in a cell, from all walkers, far apart in time.

    Args:
        frames: to choose from, in the order of time.
        over: the cells.
        count: maximum number of frames.
        taken: number of labelled frames in each cell.
    """
    if count < 1 or not frames:
        return []
    numbers = over.cell_of(np.array([frame.values for frame in frames]))
    by_cell: dict[int, dict[str, list[_Sampled]]] = defaultdict(lambda: defaultdict(list))
    for frame, cell in zip(frames, numbers.tolist(), strict=True):
        if cell >= 0:
            by_cell[cell][frame.place[0]].append(frame)
    waiting = {cell: _in_turn(walkers) for cell, walkers in sorted(by_cell.items())}
    filled, chosen = Counter(taken), list[_Sampled]()
    while waiting and len(chosen) < count:
        cell = min(waiting, key=lambda one: (filled[one], one))
        chosen.append(waiting[cell].pop(0))
        filled[cell] += 1
        if not waiting[cell]:
            del waiting[cell]
    return chosen


def _in_turn(walkers: Mapping[str, Sequence[_Sampled]]) -> list[_Sampled]:
    """The frames of a cell in the order of choice: one of each walker, then the next of each."""
    queues = [[frames[i] for i in _far_apart(len(frames))] for _, frames in sorted(walkers.items())]
    return [frame for turn in zip_longest(*queues) for frame in turn if frame is not None]


def _far_apart(count: int) -> list[int]:
    """0 … count − 1 in bit-reversed order, so that the first ones are far apart."""
    bits = max(1, (count - 1).bit_length())
    turned = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in turned if number < count]


def _values(one: Walked, known: Sequence[Label]) -> Array:
    """(n, d) values of the variables of labelled frames."""
    pieces = {(piece.walker, piece.round): piece for piece in one.pieces}
    found = []
    for label in known:
        walker, round_, step = _place(label.origin)
        values = _nearest(pieces[walker, round_], step)
        found.append(np.full(len(one.free.variables), np.inf) if values is None else values)
    return np.array(found)


def _place(origin: Mapping[str, Any]) -> Place:
    return str(origin["walker"]), int(origin["round"]), int(origin["step"])


def _model_energies(
    frozen: Work, generation: Generation, everything: Sequence[Label]
) -> dict[str, float]:
    """Key of each label → energy (kJ/mol) of the deployed model in LAMMPS."""
    frozen.observer.begin(0, f"evaluate generation {generation.name}", 1, "jobs")
    task = evaluate.evaluation_task(frozen, generation, round_=0, new=everything, test=())
    (outputs,) = frozen.do([task])
    entries = read(frozen.store.checked(outputs["frames"]), list[dict[str, Any]])
    return {
        one["key"]: KJ_PER_MOL_PER_EV * one["energy_eV_per_atom"][1] * one["atoms"]
        for one in entries
    }


def _answered(one: Walked, mine: Sequence[Label], said: Mapping[str, float]) -> Answered:
    return Answered(
        values=_values(one, mine),
        model=np.array([said[label.key] for label in mine]),
        reference=np.array([KJ_PER_MOL_PER_EV * label.energy for label in mine]),
        walkers=[_place(label.origin)[0] for label in mine],
    )
