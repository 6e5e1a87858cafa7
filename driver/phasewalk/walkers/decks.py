"""LAMMPS input: scripts (decks) from the templates in `lammps_inputs/`, and data files.

Missing and unknown values of a template are errors. Only numbers, booleans and plain names are
inserted, so that no setting can become a LAMMPS command.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..errors import InputError
from ..structures import carried
from ..units import velocities_to_lammps

if TYPE_CHECKING:
    import jinja2

Array = NDArray[np.float64]
Value = float | int | bool | str | None | Sequence[str] | Mapping[str, Sequence[float]]

DECK = 2
"""Version of the ensembles; `campaign.deck_versions` describes the errors of earlier versions.

1: fix nph without ptemp; cell at rest at the start of each segment; fix langevin with zero yes.
2: the cell and all species have the target temperature from the first step of a segment.
"""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
"""Valid names of walkers, files and types in LAMMPS input."""


@dataclass(frozen=True)
class WalkerDeck:
    """Values of the template `walker.lmp.j2`, in LAMMPS metal units.

    Attributes:
        walker: id of the walker, the prefix of its file names.
        model: file name of the deployed model.
        type_names: names of the LAMMPS types, in order.
        device: device of the model, cpu or cuda; None: a GPU if there is one.
        first_step: step counter at the start.
        steps: number of steps.
        velocity_seed: seed for new velocities; None keeps those of the data file.
        thermostat_seed: seed of the random forces, at most 900000000.
        plumed: use `fix plumed`.
        sentinel: check the limits at every step, and stop the walker if one is exceeded.
        together: stop all walkers if one stops, because they wait for each other.
        limits: keywords of the sentinel with their numbers.
        margin_steps: number of steps before a breakdown whose frames are not used.
        fixed: ids of the fixed atoms (numbered from 1), as text.
        ring_every_steps, ring_frames: interval and number of the most recent frames in memory.
        bonds_every_steps: interval of the check of bonds; None: no check.
        bonds_hold_steps: number of steps after which a broken or new bond counts.
    """

    walker: str
    model: str
    type_names: tuple[str, ...]
    first_step: int
    steps: int
    timestep_ps: float
    ensemble: str
    thermostat: str
    temperature_K: float
    pressure_bar: float
    thermostat_damping_ps: float
    barostat_damping_ps: float
    velocity_seed: int | None
    thermostat_seed: int
    plumed: bool
    sentinel: bool
    together: bool
    limits: Mapping[str, tuple[float, ...]]
    margin_steps: int
    ring_every_steps: int
    ring_frames: int
    thermo_every_steps: int
    dump_every_steps: int
    skin_A: float = 1.0
    device: str | None = None
    fixed: tuple[str, ...] = ()
    bonds_every_steps: int | None = None
    bonds_hold_steps: int = 0


def walker_deck(deck: WalkerDeck) -> str:
    """The LAMMPS script of one walker, which can also be run separately."""
    return render("walker.lmp.j2", asdict(deck))


def segment_deck(walkers: Sequence[str], ranks: int = 1) -> str:
    """The LAMMPS script of all partitions, in which each includes the script of its walker.

    Args:
        walkers: their ids.
        ranks: number of MPI ranks of each.
    """
    return render("segment.lmp.j2", {"walkers": tuple(walkers), "ranks": ranks})


def template_folder() -> Traversable:
    """Directory of the templates, in the installed package or in a source checkout."""
    packaged = resources.files("phasewalk") / "lammps_inputs"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "lammps_inputs"


def render(template: str, values: Mapping[str, Value]) -> str:
    """Fill in a template of `lammps_inputs/`.

    Raises:
        InputError: a value is not a number, boolean or plain name, or is missing or unknown.
    """
    compiled, wanted = _template(template)
    if wanted != set(values):
        raise InputError(
            f"template {template}: missing values: {_list(wanted - set(values))}; unknown values: "
            f"{_list(set(values) - wanted)}"
        )
    for name, value in values.items():
        _check(name, value)
    return re.sub(r"\n{3,}", "\n\n", compiled.render(values))


@functools.cache
def _template(name: str) -> tuple["jinja2.Template", frozenset[str]]:
    """A compiled template and the names of its values; compiled once for all walkers."""
    import jinja2.meta

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: _number(value) if isinstance(value, float) else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    wanted: set[str] = set()
    parts = [name]
    for part in parts:
        parsed = environment.parse(_source(part))
        wanted |= jinja2.meta.find_undeclared_variables(parsed)
        parts += [str(included) for included in jinja2.meta.find_referenced_templates(parsed)]
    return environment.get_template(name), frozenset(wanted)


def _source(template: str) -> str:
    return (template_folder() / template).read_text(encoding="utf-8")


def data_file(atoms: Atoms, type_names: Sequence[str], *, velocities: bool) -> str:
    """A LAMMPS data file, always triclinic, with numbers at full precision.

    Args:
        atoms: with lower-triangular cell (see `lammps_frame`); positions may be outside the cell,
            because LAMMPS wraps them and sets the image flags.
        type_names: element symbols of all LAMMPS types, in order.
        velocities: write the velocities of `atoms`.
    """
    cell = atoms.cell.array
    if np.triu(cell, 1).any():
        raise InputError(
            "the cell of a LAMMPS data file must be lower triangular; use lammps_frame"
        )
    kinds = {name: index for index, name in enumerate(type_names, start=1)}
    missing = sorted(set(atoms.get_chemical_symbols()) - set(kinds))
    if missing:
        raise InputError(
            f"the model has no species {', '.join(missing)} (it has {', '.join(type_names)}); "
            "train a model with all species of all structures"
        )
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = (map(_number, row) for row in cell)
    lines = ["LAMMPS data file: units metal, atom_style atomic", ""]
    lines += [f"{len(atoms)} atoms", f"{len(type_names)} atom types", ""]
    lines += [
        f"0.0 {lx} xlo xhi",
        f"0.0 {ly} ylo yhi",
        f"0.0 {lz} zlo zhi",
        f"{xy} {xz} {yz} xy xz yz",
    ]
    lines += ["", "Masses", ""]
    lines += [
        f"{kinds[name]} {_number(carried.mass(atoms, name))}  # {name}" for name in type_names
    ]
    lines += ["", "Atoms # atomic", ""]
    symbols = atoms.get_chemical_symbols()
    for index, (symbol, position) in enumerate(zip(symbols, atoms.positions, strict=True), start=1):
        lines.append(f"{index} {kinds[symbol]} {' '.join(map(_number, position))}")
    if velocities:
        lines += ["", "Velocities", ""]
        for index, velocity in enumerate(velocities_to_lammps(atoms.get_velocities()), start=1):
            lines.append(f"{index} {' '.join(map(_number, velocity))}")
    return "\n".join(lines) + "\n"


def lammps_frame(atoms: Atoms) -> Atoms:
    """Rotate the atoms (positions, cell, velocities) so that the cell is lower triangular.

    A cell that is already lower triangular is not changed. The cell must be right-handed.
    """
    cell = atoms.cell.array
    if not np.triu(cell, 1).any() and (np.diag(cell) > 0).all():
        return atoms.copy()
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    rotation = q * signs
    if np.linalg.det(rotation) < 0:
        raise InputError(
            "the cell is left-handed, but LAMMPS requires a right-handed one; exchange two vectors"
        )
    rotated = atoms.copy()
    rotated.set_cell(np.tril((r * signs[:, None]).T), scale_atoms=False)
    rotated.set_positions(atoms.positions @ rotation)
    if atoms.has("momenta"):
        rotated.set_momenta(atoms.get_momenta() @ rotation)
    moments = carried.extras(atoms).get(carried.MOMENTS)
    if moments is not None and moments.ndim == 2:  # vectors rotate with the crystal
        rotated.set_initial_magnetic_moments(moments @ rotation)
    return rotated


def _number(value: float) -> str:
    """The shortest text that is read as the same number."""
    return repr(float(value))


def _check(name: str, value: Value) -> None:
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}; LAMMPS input requires finite numbers")
        return
    if isinstance(value, Mapping):
        for key, numbers in value.items():
            _check(name, key)
            for number in numbers:
                _check(f"{name} {key}", number)
        return
    for word in [value] if isinstance(value, str) else value:
        if not isinstance(word, str) or not NAME.fullmatch(word):
            raise InputError(
                f"{name} {word!r}: use 1 to 100 letters, digits, '_', '.', '+' and '-', "
                "with a letter, digit or '_' first"
            )


def _list(names: Set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
