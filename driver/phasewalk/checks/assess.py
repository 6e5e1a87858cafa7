"""Whether a model supports the elements of labelled frames, and whether it was trained on them."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from .. import labels, status, store
from ..campaign import config
from ..errors import InputError, PhasewalkError
from ..labels import Label
from ..models import swap
from ..status import library
from ..store import FINAL, train_task
from . import prove

SAME_A = 2e-3
"""Frames are equal if positions and cells differ by less, Å: files may have three digits only."""
NAMES = "type_names"


def species(model: Path) -> tuple[str, ...]:
    """Elements of a deployed model, from its stamp or its file; empty if neither has them."""
    stamp = prove.find_stamp(model)
    if stamp is not None:
        return stamp.types
    try:
        with zipfile.ZipFile(model) as archive:
            for name in archive.namelist():
                if name.endswith(f"/extra/{NAMES}"):  # TorchScript
                    return tuple(archive.read(name).decode().split())
                if name.endswith("_metadata.json"):  # AOTInductor
                    return tuple(str(json.loads(archive.read(name))[NAMES]).split())
    except (*swap.DAMAGED, KeyError, TypeError, AttributeError):
        return ()
    return ()


def check_species(model: Path, frames: Sequence[Atoms], data: str) -> None:
    """Raise InputError if frames contain elements that the model does not support."""
    known = species(model)
    for number, atoms in enumerate(frames if known else (), start=1):
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(known))
        if unknown:
            raise InputError(
                f"{data}, frame {number}: contains {', '.join(unknown)}, which {model} does not "
                f"support (its elements: {', '.join(known)}); use frames of its elements only"
            )


@dataclass(frozen=True)
class Learned:
    """Numbers of given frames that are training or validation labels of a generation."""

    frames: int
    training: int
    validation: int

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return {"training_labels": self.training, "validation_labels": self.validation}

    @property
    def says(self) -> str:
        """What this means for the errors; empty if it has no effect."""
        if not self.training + self.validation:
            return ""
        both = f"{self.training} of the {self.frames} frames are the model's own training labels"
        more = f", {self.validation} its validation labels" if self.validation else ""
        return (
            f"{both}{more}: their errors are errors of the fit, not of predictions for unknown "
            "frames"
        )


def campaign_of(model: Path) -> tuple[Path, str] | None:
    """Campaign and generation of a deployed model; None if it is not in a campaign directory."""
    places = model.absolute().parents
    if len(places) < 4 or not (places[3] / store.JOURNAL).is_file() or places[2].name != "models":
        return None
    name = places[1].name.removeprefix("gen-")
    return places[3], str(int(name)) if name.isdigit() else name


def learned(model: Path, frames: Sequence[Label]) -> Learned | None:
    """How many of the frames a model was trained on; None if it is not a campaign's model."""
    found = campaign_of(model)
    if found is None:
        return None
    root, generation = found
    try:
        known, validated = _known(root, generation)
    except PhasewalkError:
        return None
    kinds = [validated[i] for label in frames if (i := _place(label.atoms, known)) is not None]
    return Learned(len(frames), kinds.count(False), kinds.count(True))


def _known(root: Path, generation: str) -> tuple[list[Atoms], list[bool]]:
    """Labelled frames of a generation, and which of them are for validation."""
    opened = store.read_campaign(root)
    trained = opened.find(train_task(generation))
    if trained is None:
        return [], []
    keys = library.label_keys(one for one in opened.records() if one.time <= trained.time)
    found = [label.atoms for key in keys if (label := opened.label(key)) is not None]
    if generation == FINAL:
        return found, [False] * len(found)
    every = config.parse(*store.settings_text(root)).validation_every
    return found, labels.split(len(found), every)


def _place(atoms: Atoms, known: Sequence[Atoms]) -> int | None:
    """Index of the same frame among known ones; None if it is not among them."""
    for index, other in enumerate(known):
        if np.array_equal(atoms.numbers, other.numbers) and _apart(atoms, other) < SAME_A:
            return index
    return None


def _apart(atoms: Atoms, other: Atoms) -> float:
    """Largest difference of a coordinate, Å."""
    cell = float(np.abs(atoms.cell.array - other.cell.array).max())
    return max(cell, float(np.abs(atoms.positions - other.positions).max()))


def model_of(target: Path, generation: str | None) -> Path:
    """The deployed model given on the command line, as a campaign directory or a file."""
    model = status.deployed_model(target, generation) if target.is_dir() else target
    if not model.is_file():
        raise InputError(f"{model}: no such file; give a deployed model or a campaign directory")
    store.check_kept(model)
    return model


def with_learned(errors: Mapping[str, object], of: Learned | None) -> dict[str, object]:
    """Errors for JSON, with the number of frames that the model was trained on, if known."""
    return {**errors, **(of.as_dict() if of else {})}
