"""The labels that a generation knows: which it learns, and what their errors and bonds are.

The energies of a model may all be wrong by the same amount, which no force depends on. What a
walker's frame is judged by is without this offset: the median error of the same model on known
frames of the same composition. It is the same for one walker as for many, and does not depend on
how wrong the other walkers of the round are.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from ..campaign import Work
from ..labels import Label, split
from ..store import (
    HELD_OUT,
    Evaluated,
    FrameErrors,
    HeldOut,
    Store,
    each,
    evaluate_task,
    late_held_out_task,
)
from ..store import held_out_task as task_name
from ..structures import reduced_formula
from ..validation import Prediction
from ..walkers import FrameError, policy

MOST, FEWEST = 16, 3
"""Maximum number of known frames for an offset, and how many must be validation labels."""


def held_out(store: Store) -> frozenset[str]:
    """Keys of the labels that are not used for training."""
    return frozenset(one.key for _, held in each(store.records(), HeldOut) for one in held.labels)


def usable(work: Work, known: Sequence[Label]) -> list[Label]:
    """The labels that a generation learns: those that are not held out."""
    rounds = {number for label in known if (number := label.origin.get("round"))}
    rounds |= {number + 1 for number in rounds}  # in which late labels are judged
    names = (name(number) for number in sorted(rounds) for name in (task_name, late_held_out_task))
    found = map(work.store.find, names)
    held = {one.key for record in found if record for one in record.of(HeldOut).labels}
    return [label for label in known if label.key not in held]


@dataclass(frozen=True)
class Sets:
    """The labels that a generation learns, in their order: all, for training, for validation."""

    labels: Sequence[Label]
    training: Sequence[Label]
    validation: Sequence[Label]


def sets(work: Work, known: Sequence[Label]) -> Sets:
    """Labels for training and for validation; without those that are held out."""
    found = usable(work, known)
    validate = split(len(found), work.campaign.settings.validation_every)
    pairs = list(zip(found, validate, strict=True))
    training = [label for label, held_back in pairs if not held_back]
    return Sets(found, training, [label for label, held_back in pairs if held_back])


def probed(known: Sequence[Label]) -> list[Atoms]:
    """Labelled frames for the gate: the first, the densest, and the newest."""
    cells = np.array([label.atoms.cell.array for label in known])
    volumes = np.abs(np.linalg.det(cells)) / [len(label.atoms) for label in known]
    densest = known[int(np.argmin(volumes))]
    chosen = {label.key: label.atoms for label in (known[0], densest, known[-1])}
    return list(chosen.values())


def hold_out(work: Work, round_: int, found: Mapping[str, Any], *, name: str = "") -> None:
    """Record which labels of a round are not used for training, by the rule of the settings.

    Args:
        work: the campaign.
        round_: number of the round.
        found: outputs of the evaluation of the generation that drove the walkers.
        name: of the record; that of the round if it is empty.
    """
    rule = work.campaign.settings.policy.hold_out
    if rule is None:
        return
    held = []
    for one in found["each"]:
        entry = FrameErrors.model_validate(one)
        fault = policy.held_out(errors_of(entry), rule)
        if fault is not None and entry.key:
            held.append({"key": entry.key, "walker": entry.walker, "why": fault.says})
            work.observer.say(f"{entry.walker}: label not used for training: {fault.says}")
    work.note(name or task_name(round_), HELD_OUT, round_, {"labels": held})


def errors_of(entry: FrameErrors) -> FrameError:
    """Errors on a walker's frame, from a record."""
    return FrameError(
        energy_meV_per_atom=entry.energy_error_meV_per_atom,
        force_meV_per_A=entry.force_rmse_meV_per_A,
        force_ratio=entry.force_error_ratio,
    )


def to_compare(work: Work, known: Sequence[Label], new: Sequence[Label]) -> list[Label]:
    """Known labels on which the common offset of the energies is determined.

    These are the last validation labels with intact bonds of each composition of the new frames;
    if there are fewer than `FEWEST`, training labels as well. None if no limit needs an offset.
    """
    settings = work.campaign.settings
    if not settings.policy.uses_energies or not new:
        return []
    known = usable(work, known)
    wanted = {reduced_formula(label.atoms) for label in new}
    validate = split(len(known), settings.validation_every)
    found: list[Label] = []
    for formula in sorted(wanted):
        mine = [
            (label, held_back)
            for label, held_back in zip(known, validate, strict=True)
            if reduced_formula(label.atoms) == formula
        ]
        apart = _last_intact(work, [label for label, held_back in mine if held_back])
        if len(apart) < FEWEST:
            apart = _last_intact(work, [label for label, _ in mine])
        found += apart
    return found


def _last_intact(work: Work, found: Sequence[Label]) -> list[Label]:
    """The last `MOST` labels whose bonds are intact or not checked."""
    kept: list[Label] = []
    for label in reversed(found):
        if bond_change(work, label) is None:
            kept.append(label)
        if len(kept) == MOST:
            break
    return kept[::-1]


def offsets(found: Sequence[Label], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Median error of the energy (meV/atom) on frames of each composition."""
    wrong: dict[str, list[float]] = defaultdict(list)
    for label, predicted in zip(found, predictions, strict=True):
        wrong[reduced_formula(label.atoms)].append(_wrong(label, predicted))
    return {formula: float(np.median(values)) for formula, values in wrong.items()}


def energy_error(
    label: Label, predicted: Prediction, offset: Mapping[str, float]
) -> dict[str, float]:
    """Error of the energy without the offset, for the journal; empty if there is no offset."""
    common = offset.get(reduced_formula(label.atoms))
    if common is None:
        return {}
    return {"energy_error_meV_per_atom": _wrong(label, predicted) - common}


def _wrong(label: Label, predicted: Prediction) -> float:
    return 1000.0 * (predicted.energy - label.energy) / len(label.atoms)


def bond_change(work: Work, label: Label) -> str | None:
    """Which bond of a labelled frame differs from the start structure; None if none does."""
    name = checked_as(work, label)
    return None if name is None else work.guards[name].fault(label.atoms)


def checked_as(work: Work, label: Label) -> str | None:
    """The system whose bonds a labelled frame must have; None if they are not checked."""
    symbols, name = tuple(label.atoms.symbols), label.origin.get("system")
    structures = work.campaign.structures  # all of them for labels given by the user
    mine = [str(name)] if name in structures else list(structures)
    return next(
        (one for one in mine if one in work.guards and work.guards[one].symbols == symbols), None
    )


def bonds(work: Work, known: Sequence[Label], before: tuple[str, int] | None) -> dict[str, Any]:
    """How many labels have the bonds of their start structure, for the journal; see `store.Bonds`.

    Args:
        work: the campaign.
        known: all labels of a generation, in their order.
        before: name and number of the previous generation, whose labels are not checked again.

    Returns:
        The entry of the record; empty if the bonds of no system are checked.
    """
    if not work.guards:
        return {}
    checked, changed, done = 0, [], 0
    record = None if before is None else work.store.find(evaluate_task(*before))
    made = None if record is None else record.made
    if isinstance(made, Evaluated) and made.bonds is not None:
        checked, changed, done = made.bonds.checked, list(made.bonds.changed), made.bonds.labels
    for label in known[done:]:
        if checked_as(work, label) is not None:
            checked += 1
            changed += [label.key] if bond_change(work, label) is not None else []
    return {"bonds": {"labels": len(known), "checked": checked, "changed": changed}}
