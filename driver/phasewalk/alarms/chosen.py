"""Label the alarm frames of a run that differ most, and add them to the model's campaign.

The labels are tasks of a store in the folder of the run, so that an interrupted call can be
continued; they are then added to the campaign as those of a free energy are (`rounds.added`).
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .. import labelling
from ..campaign import Campaign, Work, guards
from ..errors import InputError
from ..labelling import Frame
from ..labels import Label
from ..moment import ALARM_FRAMES
from ..production import Titled, lineage
from ..store import LABEL, failures, open_campaign
from ..structures import bare, carried, clash
from .environments import Array, farthest, surroundings
from .trained import Trained, read
from .watching import FRAMES, TRAINED

LABELLED = "labelled"
"""Folder of the labels in that of the run."""


def choose(campaign: Campaign, root: Path, run: Path, count: int) -> list[Frame]:
    """The alarm frames of a run that are most unlike, and unlike each other.

    Frames with other bonds than their system must keep, or with atoms too close, are left out, as
    those of walkers are.

    Args:
        campaign: the campaign of the run's model.
        root: its directory.
        run: folder of the run.
        count: maximum number of frames.

    Raises:
        InputError: the model is of another campaign; the cell is not one of the campaign's; or no
            frame is left.
    """
    import ase.io

    if not (run / TRAINED).is_file():
        raise InputError(f"{run}: not the folder of a run of phasewalk produce with alarms")
    if not (run / FRAMES).is_file():
        raise InputError(
            f"{run}: its frames have not been looked at yet, or {FRAMES} was removed; use "
            f"phasewalk alarms {run}"
        )
    trained = read(run / TRAINED)
    if trained.about.get("checkpoint") not in lineage.former(root):
        raise InputError(
            f"{run}: its model is of the campaign {trained.about.get('campaign')}, not of {root}"
        )
    frames = ase.io.read(run / FRAMES, ":") if (run / FRAMES).stat().st_size else []
    if not frames:
        raise InputError(f"{run}: its frames have raised no alarms, so that there is none to label")
    system = _system(campaign, frames[0], run, trained.about.get("source", {}))
    structure, faults, good = campaign.structures[system], [], []
    for one in frames:
        atoms = carried.like(bare(one), structure)
        if fault := _fault(campaign, system, atoms):
            faults.append(fault)
        else:
            origin = {"walker": one.info["walker"], "step": int(one.info["step"]), "round": 0}
            good.append((one, Frame(atoms, system, {"system": system, **origin})))
    if not good:
        raise InputError(f"{run}: none of {len(frames)} alarm frames can be labelled: {faults[0]}")
    points = np.array([_worst(one, trained) for one, _ in good])
    return [good[n][1] for n in farthest(points, count, np.zeros((0, points.shape[1])))]


def label(work: Work, run: Path, frames: Sequence[Frame]) -> list[Label]:
    """Label frames with the campaign's reference; those that fail are left out.

    Args:
        work: of the campaign; its store is not used.
        run: folder of the run.
        frames: from `choose`.

    Raises:
        InputError: all labels failed.
    """
    with closing(open_campaign(run / LABELLED, work.campaign.identity())) as opened:
        observer = Titled(work.observer, ALARM_FRAMES)
        work = replace(work, store=opened, observer=observer)
        found = labelling.label_frames(work, 0, frames)
        made = [one for one in found if one is not None]
        if not made:
            reasons = [failure.reason for _, failure in failures(opened.records(), LABEL)]
            raise InputError(f"{run}: all {len(frames)} labels failed: {reasons[-1]}")
        return made


def _system(campaign: Campaign, atoms: Atoms, run: Path, source: Mapping[str, Any]) -> str:
    """The system of a run's start structure, or else the first one that has the same atoms.

    Raises:
        InputError: there is none: a supercell, of which the labels would be of another level of
            theory (k-points), and a part of which would have other surroundings at its faces.
    """
    symbols = atoms.get_chemical_symbols()
    alike = [
        name
        for name, structure in campaign.structures.items()
        if structure.get_chemical_symbols() == symbols
    ]
    if alike:
        own = (source.get("system"), str(source.get("walker", "")).rpartition("-")[0])
        return next((name for name in alike if name in own), alike[0])
    if len(atoms) in map(len, campaign.structures.values()):
        raise InputError(
            f"{run}: its cell has other elements than the campaign's systems, or the same in "
            "another order; use a run whose structure: is a system, or a walker of one"
        )
    sizes = ", ".join(f"{name} {len(one)}" for name, one in campaign.structures.items())
    raise InputError(
        f"{run}: its cell has {len(atoms)} atoms, the campaign's systems have others ({sizes}); "
        "the reference is set up for these, and a part cut out of a larger cell has other "
        "surroundings at its faces; use a run with supercell: [1, 1, 1] of a system"
    )


def _fault(campaign: Campaign, system: str, atoms: Atoms) -> str:
    """Why a frame is not labelled; empty if it is."""
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        return "positions that are not finite"
    guard = guards.of(campaign).get(system)
    close = clash(atoms, campaign.settings.candidates.min_distance_fraction)
    return close or (guard.fault(atoms) if guard else None) or ""


def _worst(atoms: Atoms, trained: Trained) -> Array:
    """Environment of the atom that is most unlike, in a part of the vector for its element."""
    found = surroundings(atoms, trained.elements, trained.cutoff_A)
    ratios = atoms.arrays["unlike"]
    worst = int(np.argmax(ratios))
    point = np.zeros((len(trained.elements), found.environments.shape[1]))
    point[found.kinds[worst]] = trained.scaled(found)[worst]
    return point.ravel()
