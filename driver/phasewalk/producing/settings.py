"""The production file: what is run with a frozen model, and for how long."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ..bias import plumed, plumed_files, plumed_limits
from ..engines import EngineSettings
from ..errors import InputError
from ..settings import Settings
from ..settings_files import parse
from ..units import FS_PER_PS
from ..walkers import Ensemble, Thermostat, check_damping

KERNELS = frozenset({"OPES_METAD", "OPES_METAD_EXPLORE"})
"""Actions that continue from their file of kernels, to which they add one every PACE steps."""
Row = tuple[int, int, int]
_THREE = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
_SCHEMA = WithJsonSchema({"anyOf": [_THREE, {**_THREE, "items": _THREE}]})


def _rows(value: Any) -> Any:
    """A supercell as a matrix, given as one or as three numbers."""
    given = tuple(value) if isinstance(value, list | tuple) else ()
    if len(given) == 3 and all(type(n) is int for n in given):
        given = tuple(tuple(given[i] if i == j else 0 for j in range(3)) for i in range(3))
    rows = tuple(tuple(row) for row in given if isinstance(row, list | tuple))
    if [len(row) for row in rows] != [3, 3, 3] or any(type(n) is not int for n in sum(rows, ())):
        raise ValueError("use three integers, or three lists of three integers")
    return rows


class ProductionSettings(Settings):
    """A long run with one frozen model. Names and units are those of the campaign file."""

    campaign: str = Field(
        description="Campaign directory, or a folder of `phasewalk export`; relative to this file."
    )
    generation: str | int | None = Field(
        None, description='Generation of the campaign, or "final". Default: the last one.'
    )
    structure: str = Field(
        description="A system of the campaign (its start structure), one of its walkers (SYSTEM-0: "
        "the last good frame), or a structure file beside this file."
    )
    supercell: Annotated[tuple[Row, Row, Row], BeforeValidator(_rows), _SCHEMA] = Field(
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        description="Number of cells along each vector, or a 3 × 3 matrix of integers, whose rows "
        "are the new vectors in the old ones. Default: [1, 1, 1].",
    )
    ensemble: Ensemble = Field("nvt", description="nvt, or npt: fully flexible (triclinic) cell.")
    thermostat: Thermostat = Field("langevin", description="langevin, csvr or nose-hoover.")
    temperature_K: float = Field(300.0, gt=0, le=10_000, description="Temperature.")
    pressure_MPa: float | None = Field(
        None, ge=-100_000, le=1_000_000, description="Pressure (npt only). Default: 0."
    )
    timestep_fs: float = Field(0.5, gt=0, le=10, description="Time step.")
    thermostat_damping_fs: float = Field(
        100.0, gt=0, le=1e6, description="Damping time of the thermostat; at least 10 time steps."
    )
    barostat_damping_fs: float = Field(
        500.0, gt=0, le=1e6, description="Damping time of the barostat; at least 50 time steps."
    )
    length_ps: float = Field(gt=0, le=1e9, description="Length of each walker. May be increased.")
    walkers: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Number of parallel walkers, with different velocities. They share the hills "
        "of METAD while they run.",
    )
    ranks: int = Field(1, ge=1, le=100_000, description="MPI ranks of each walker. May change.")
    plumed: str | None = Field(
        None,
        description="PLUMED input, or the name of a file with it (one word) beside this file. "
        "Default: no bias.",
    )
    thermo_every_steps: int = Field(100, ge=1, description="Steps between lines of the table.")
    dump_every_steps: int = Field(1000, ge=1, description="Steps between frames.")
    restart_every_steps: int = Field(
        10_000,
        ge=1,
        description="Steps between restart files: what a kill can cost. May change.",
    )
    seed: int = Field(1, ge=0, le=2**31, description="Seed of all random numbers.")
    engines: EngineSettings = Field(
        EngineSettings(), description="Programs. Default: those found here."
    )

    @property
    def steps(self) -> int:
        """Number of steps of each walker."""
        return round(self.length_ps * FS_PER_PS / self.timestep_fs)

    @model_validator(mode="after")
    def _consistent(self) -> "ProductionSettings":
        check_damping(self)
        if self.ensemble == "nvt" and self.pressure_MPa is not None:
            raise ValueError(
                f"pressure_MPa: {self.pressure_MPa:g} has no meaning at constant volume; "
                "write ensemble: npt, or remove it"
            )
        if self.steps < 1:
            raise ValueError(f"length_ps: {self.length_ps:g} is less than one time step")
        return self


def read(path: Path) -> ProductionSettings:
    """Read a production file; the content of a named PLUMED file takes the place of its name.

    Raises:
        InputError: one line for the first error.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    settings = parse(text, str(path), ProductionSettings)
    if settings.plumed is None:
        return settings
    if plumed.is_file_name(settings.plumed):
        file = path.parent / settings.plumed.strip()
        if not file.is_file():
            raise InputError(f"{path}: plumed: {file}: no such file")
        content = file.read_text(encoding="utf-8-sig", errors="replace")
        settings = settings.model_copy(update={"plumed": content})
    try:
        _check_plumed(settings, settings.plumed or "")
    except InputError as error:
        raise InputError(f"{path}: plumed: {error}") from error
    return settings


def _check_plumed(settings: ProductionSettings, text: str) -> None:
    """Raise InputError for PLUMED input whose files cannot be continued after a kill."""
    plumed.metad_actions(text, KERNELS)
    plumed_limits.check(text)
    plumed_files.check(text)
    on_cell = plumed.bias_on_cell(text)
    if settings.ensemble == "nvt" and on_cell:
        raise InputError(f"{on_cell} biases the cell, which is fixed in ensemble nvt")
    unit = plumed.time_unit_ps(text)
    if settings.timestep_fs / FS_PER_PS / unit < 1e-5:
        raise InputError(
            f"UNITS: PLUMED prints times with six digits, too few for steps of "
            f"{settings.timestep_fs:g} fs; use TIME=ps or TIME=fs"
        )
    labels = [action.label for action in plumed.parse(text) if action.name in KERNELS]
    if labels and settings.walkers > 1:
        raise InputError("OPES shares its kernels through MPI only; use walkers: 1, or METAD")
    if None in labels:
        raise InputError("OPES needs a label here, as in `opes: OPES_METAD …`")
    for action in plumed.parse(text):
        where = f"PLUMED text, line {action.line}, {action.name}"
        if action.name in ("RESTART", "UPDATE_IF", "FLUSH"):
            raise InputError(f"{where}: not supported here; remove it")
        if action.name in KERNELS:
            _check_opes(action, where)
        elif action.name not in ("PRINT", "METAD") and plumed_files.writes(action):
            raise InputError(
                f"{where}: its file cannot be continued after a kill; use PRINT, or compute it "
                "from the frames afterwards"
            )
        if action.name == "PRINT" and any(word.key.startswith("UPDATE_") for word in action.words):
            raise InputError(f"{where}: UPDATE_FROM and UPDATE_UNTIL are not supported here")


def _check_opes(action: plumed.Action, where: str) -> None:
    """Raise InputError for OPES that does not continue from its file of kernels."""
    plumed.pace(action)
    if (action.get("SIGMA") or "ADAPTIVE").upper() == "ADAPTIVE":
        raise InputError(f"{where}: an adaptive SIGMA is not continued after a stop; give SIGMA")
    for key in ("STATE_RFILE", "STATE_WFILE", "WALKERS_MPI"):
        if action.get(key) is not None:
            raise InputError(f"{where}: {key} is not supported here; remove it")
