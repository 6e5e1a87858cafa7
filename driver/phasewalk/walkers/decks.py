"""LAMMPS text: decks from the templates in `lammps_inputs/`, and data files.

Templates are strict both ways: a value that a template does not know is an error, and so is one
that it misses. Only numbers, switches and plain names enter a template, so that nothing of a config
can become a LAMMPS command.
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
"""Version of the ensembles that walkers sample; `deck_versions` says what was wrong before.

1: fix nph without ptemp, and a cell that began each segment at rest; fix langevin with zero yes.
2: the cell has the temperature that was asked for from a segment's first step, as all species have.
"""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
"""What a walker, a file or a type may be called in LAMMPS text."""


@dataclass(frozen=True)
class WalkerDeck:
    """The values of `walker.lmp.j2`; LAMMPS metal units.

    Attributes:
        walker: its id, which begins the name of each of its files.
        model: file name of the deployed model.
        type_names: names of the LAMMPS types, in order.
        device: where the model runs, cpu or cuda; None: on a GPU if there is one.
        first_step: step counter at the start.
        steps: how many to do.
        velocity_seed: draw new velocities with it; None keeps those of the data file.
        thermostat_seed: of the random forces; at most 900000000.
        plumed: use `fix plumed`.
        sentinel: watch every step, and stop softly where the walker breaks down.
        together: all walkers stop where one must: they wait for each other.
        limits: keywords of the sentinel with their numbers.
        margin_steps: before a stop that are already part of the breakdown.
        fixed: ids of the atoms that stay where they are, which count from 1, as text.
        ring_every_steps, ring_frames: how often a frame is remembered, and how many are.
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


def walker_deck(deck: WalkerDeck) -> str:
    """The LAMMPS script of one walker; it also runs alone, by hand."""
    return render("walker.lmp.j2", asdict(deck))


def segment_deck(walkers: Sequence[str]) -> str:
    """The LAMMPS script that all partitions read: each includes its walker's script."""
    return render("segment.lmp.j2", {"walkers": tuple(walkers)})


def template_folder() -> Traversable:
    """The templates: inside the installed package, or at the top of a source checkout."""
    packaged = resources.files("phasewalk") / "lammps_inputs"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "lammps_inputs"


def render(template: str, values: Mapping[str, Value]) -> str:
    """Fill a template of `lammps_inputs/`.

    Raises:
        InputError: a value that is no number, switch or plain name, or one too many or too few.
    """
    compiled, wanted = _template(template)
    if wanted != set(values):
        raise InputError(
            f"template {template}: it needs {_list(wanted - set(values))} more and does not use "
            f"{_list(set(values) - wanted)}"
        )
    for name, value in values.items():
        _check(name, value)
    return re.sub(r"\n{3,}", "\n\n", compiled.render(values))


@functools.cache
def _template(name: str) -> tuple["jinja2.Template", frozenset[str]]:
    """A compiled template, and the values that it needs: each is compiled once for all walkers."""
    import jinja2.meta

    text = (template_folder() / name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: _number(value) if isinstance(value, float) else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    wanted = jinja2.meta.find_undeclared_variables(environment.parse(text))
    return environment.from_string(text), frozenset(wanted)


def data_file(atoms: Atoms, type_names: Sequence[str], *, velocities: bool) -> str:
    """A LAMMPS data file, always triclinic, each number in full.

    Args:
        atoms: lower-triangular cell (see `lammps_frame`); positions may lie outside of it, LAMMPS
            wraps them and counts the images.
        type_names: element symbols of all LAMMPS types, in order.
        velocities: write those of `atoms`.
    """
    cell = atoms.cell.array
    if np.triu(cell, 1).any():
        raise InputError("a LAMMPS cell must be lower triangular: rotate it with lammps_frame")
    kinds = {name: index for index, name in enumerate(type_names, start=1)}
    missing = sorted(set(atoms.get_chemical_symbols()) - set(kinds))
    if missing:
        raise InputError(
            f"the model has no type {', '.join(missing)} (it has {', '.join(type_names)}); "
            "train one with all species of all structures"
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
    """The atoms (positions, cell, velocities) rotated so that the cell is lower triangular.

    A cell that is so already stays bit for bit. The cell must be right-handed.
    """
    cell = atoms.cell.array
    if not np.triu(cell, 1).any() and (np.diag(cell) > 0).all():
        return atoms.copy()
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    rotation = q * signs
    if np.linalg.det(rotation) < 0:
        raise InputError(
            "the cell is left-handed, and LAMMPS needs a right-handed one: swap two rows"
        )
    rotated = atoms.copy()
    rotated.set_cell(np.tril((r * signs[:, None]).T), scale_atoms=False)
    rotated.set_positions(atoms.positions @ rotation)
    if atoms.has("momenta"):
        rotated.set_momenta(atoms.get_momenta() @ rotation)
    moments = carried.extras(atoms).get(carried.MOMENTS)
    if moments is not None and moments.ndim == 2:  # vectors turn with the crystal
        rotated.set_initial_magnetic_moments(moments @ rotation)
    return rotated


def _number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value))


def _check(name: str, value: Value) -> None:
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{name} is {value}: LAMMPS text takes finite numbers only")
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
    return ", ".join(sorted(names)) or "nothing"
