"""Labelled frames and predictions of generations, for the errors and parity plots of the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ..files import made_by
from ..files import read as read_file
from ..store import Evaluated, Record, Store

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """A labelled frame and the prediction of a generation for it.

    Attributes:
        generation: name of the generation.
        round: round of the evaluation.
        of: new (new frame of the round) or test (test set).
        learned: the generation was trained on the frame.
        key: key of the label.
        system, walker: origin of the frame; None if it is not known.
        formula: composition.
        volume_A3: volume.
        energy: [reference, model], eV/atom.
        pressure: [reference, model], GPa.
        forces: (2, n) a part of the force components, [reference, model], eV/Å.
        errors: errors of forces and stress; names as in `validation.Errors`.
        colvars: collective variables, if known.
        stress: (2, 6) [reference, model], GPa, Voigt, tension positive; None if not recorded.
    """

    generation: str
    round: int
    of: str
    learned: bool
    key: str
    system: str | None
    walker: str | None
    formula: str
    volume_A3: float
    energy: Array
    pressure: Array
    forces: Array
    errors: Mapping[str, float]
    colvars: Mapping[str, float]
    stress: Array | None = None


def read(
    store: Store,
    record: Record,
    known: Mapping[str, Mapping[str, float]],
    learned: Mapping[str, int],
    homes: Mapping[str, str],
) -> list[Compared]:
    """Read the frames of one evaluation."""
    evaluated = record.of(Evaluated)
    generation = evaluated.generation
    number = int(generation) if generation.isdigit() else record.round

    return [
        Compared(
            generation=generation,
            round=record.round,
            of=one.of,
            learned=one.of == "new" and learned.get(one.key, number + 1) <= number,
            key=one.key,
            system=one.origin.get("system") or homes.get(one.key),
            walker=one.origin.get("walker"),
            formula=one.formula,
            volume_A3=one.volume_A3,
            energy=one.energy_eV_per_atom,
            pressure=one.pressure_GPa,
            forces=one.forces_eV_per_A,
            errors=one.errors,
            colvars=known.get(one.key, {}),
            stress=one.stress_GPa,
        )
        for one in read_file(store.checked(evaluated.frames or ""), list[_ComparedFrame])
    ]


def _floats(values: Any) -> Array:
    return np.array(values, dtype=float)


class _ComparedFrame(BaseModel):
    """A labelled frame and its prediction, as stored in a file."""

    model_config = ConfigDict(strict=True)

    of: str
    key: str
    origin: dict[str, Any]
    formula: str
    volume_A3: float
    energy_eV_per_atom: Annotated[Array, made_by(_floats)]
    pressure_GPa: Annotated[Array, made_by(_floats)]
    forces_eV_per_A: Annotated[Array, made_by(_floats)]
    errors: dict[str, float]
    stress_GPa: Annotated[Array | None, made_by(_floats)] = None
