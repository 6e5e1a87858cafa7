"""What is told of an exported potential: from the campaign's journal, settings and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .. import models
from ..errors import InputError, StoreError
from ..labels import Label
from ..models import Deployed
from ..status import History, deployed, history, library, verdict
from ..store import (
    ForRanks,
    Store,
    Trained,
    Versions,
    each,
    ranks_task,
    read_campaign,
    train_task,
)

EXAMPLE_FRAMES = 4
"""Number of frames in the example with which a package is compiled."""


@dataclass(frozen=True)
class Form:
    """A deployed model: its file in the campaign, its stamp, and its speed on one thread.

    `several` is the file for several MPI ranks, and its stamp; None if there is none.
    """

    source: Path
    stamp: Deployed
    ms_per_step: float | None
    several: tuple[Path, Deployed] | None


@dataclass(frozen=True)
class Facts:
    """An exported generation.

    Attributes:
        name: of the campaign.
        generation: its name.
        checkpoint: its checkpoint.
        forms: its deployed models, the fastest first.
        level: level of theory of its labels, in words, and its settings.
        labels: number of labels that it was trained on.
        formulas: compositions of the labels.
        errors: title of the frames → lines with the errors on them.
        ranges: lines with the ranges of variables that walkers have explored.
        conditions: one line for each system: ensemble, temperature, pressure.
        guarded: whether walkers were stopped when bonds changed.
        example: a labelled frame with small forces.
        training: a few labels.
        versions: of the programs that the campaign used last.
        temperature_K: of the first system.
    """

    name: str
    generation: str
    checkpoint: Path
    forms: Sequence[Form]
    level: str
    level_settings: Mapping[str, Any]
    labels: int
    formulas: Sequence[str]
    errors: Mapping[str, Sequence[str]]
    ranges: Sequence[str]
    conditions: Sequence[str]
    guarded: bool
    example: Atoms
    training: Sequence[Label]
    versions: Mapping[str, Any]
    temperature_K: float


def read(root: Path, generation: str | None) -> Facts:
    """Read a campaign directory; its models are compared with the journal.

    Args:
        root: campaign directory.
        generation: "0", "1", … or "final"; None for the last one.

    Raises:
        InputError: there is no such generation.
        StoreError: not a campaign directory, or no model was deployed yet.
        ParseError: a model or a label is damaged.
    """
    store = read_campaign(root)
    found = history.read(root, store=store)
    if found.settings is None:
        raise InputError(f"{root}: its settings cannot be read: {'; '.join(found.problems)}")
    forms = deployed.forms(found.records, found.state["generations"], generation)
    if not forms:
        names = [entry["generation"] for entry in found.state["generations"] if "deployed" in entry]
        if generation is None or not names:
            raise StoreError(f"{root}: no deployed generation yet; run the campaign first")
        has = f"the campaign has {', '.join(names)}"
        raise InputError(f"--generation {generation}: not found; {has}")
    name = forms[0]["generation"]
    entry = next(one for one in found.state["generations"] if one["generation"] == name)
    known, level = library.campaign_labels(root, store)
    calm = min(known, key=lambda label: float(np.abs(label.forces).max()))
    versions = [made.versions for _, made in each(found.records, Versions)]
    systems = found.settings.systems
    return Facts(
        name=found.state["campaign"],
        generation=name,
        checkpoint=_checked(store, name),
        forms=[_form(store, one) for one in forms],
        level=level.title,
        level_settings={**level.settings, **level.files},
        labels=entry["training_labels"],
        formulas=sorted({label.atoms.get_chemical_formula() for label in known}),
        errors=_errors(found, entry),
        ranges=[_range(found, *one, ends) for one, ends in verdict.ranges(found).items()],
        conditions=[
            f"{one}: {system.ensemble}, {system.temperature_K:g} K"
            + (f", {system.pressure_MPa or 0.0:g} MPa" if system.ensemble == "npt" else "")
            for one, system in systems.items()
        ],
        guarded=any(system.bonds != "free" for system in systems.values()),
        example=calm.atoms,
        training=known[:EXAMPLE_FRAMES],
        versions=versions[-1] if versions else {},
        temperature_K=next(iter(systems.values())).temperature_K,
    )


def _checked(store: Store, name: str) -> Path:
    record = store.find(train_task(name))
    if record is None:
        raise StoreError(f"{store.root}: generation {name} has no training; run the campaign first")
    return store.checked(record.of(Trained).checkpoint)


def _form(store: Store, one: Mapping[str, Any]) -> Form:
    source = store.checked(str(one["file"]))
    stamp = models.read_stamp(source.with_name("stamp.json"))
    record = store.find(ranks_task(one["generation"], stamp.mode))
    several = None if record is None or record.failed else record.of(ForRanks)
    ranks = None
    if several is not None and several.stamp.get("checkpoint") == stamp.checkpoint:
        ranks = store.checked(several.file), models.stamp_from_json(several.stamp)
    return Form(source, stamp, one["ms_per_step"], ranks)


def _range(found: History, system: str, variable: str, ends: tuple[float, float]) -> str:
    """The range of a variable, with its unit."""
    return f"{system}: {found.axis(system, variable)}: {ends[0]:.5g} to {ends[1]:.5g}"


def _errors(found: History, entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """Errors on the test set, and of the generation that met them on the last new frames."""
    errors = {}
    if entry.get("test"):
        errors["on the test set"] = _lines(entry["test"])
    for one in reversed(found.state["rounds"]):
        if before := one.get("before_learning"):
            title = (
                f"on the new frames of round {one['round']}, of generation {before['generation']}, "
                "before it was trained on them"
            )
            errors[title] = _lines(before)
            break
    return errors


def _lines(errors: Mapping[str, Any]) -> list[str]:
    scatter = errors["energy_scatter_meV_per_atom"]
    more = "" if scatter is None else f"; scatter around it {scatter:.2f} meV/atom"
    return [
        f"forces: MAE {errors['force_mae_meV_per_A']:.0f} meV/Å, RMSE "
        f"{errors['force_rmse_meV_per_A']:.0f} meV/Å "
        f"(the forces' rms is {errors['force_rms_meV_per_A']:.0f})",
        f"pressure: MAE {errors['pressure_mae_GPa']:.2g} GPa",
        f"energy: common offset {errors['energy_offset_meV_per_atom']:.2f} meV/atom{more}",
    ]
