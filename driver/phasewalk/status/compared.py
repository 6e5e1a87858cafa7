"""Labelled frames, and what generations say of them: for the report's errors and parity plots."""

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
    """A labelled frame and what a generation says of it.

    Attributes:
        generation: its name.
        round: in which it was measured.
        of: new (the round's new frames) or test (the test set).
        learned: the generation has learned the frame.
        key: of the label.
        system, walker: where the frame comes from; None where that is not known.
        formula: its composition.
        volume_A3: its volume.
        energy: [reference, model], eV/atom.
        pressure: [reference, model], GPa.
        forces: (2, n) some of the force components, [reference, model], eV/Å.
        errors: its errors of forces and stress, as `evaluation.Errors` names them.
        colvars: its collective variables, where they are known.
        stress: (2, 6) [reference, model], GPa, Voigt, tension positive; None where it was not kept.
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
    """The frames of one evaluation."""
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
    """A labelled frame and what a generation says of it, as its file has it."""

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
