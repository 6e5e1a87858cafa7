"""LAMMPS text: golden decks, strict templates, data files, the LAMMPS frame.

Golden decks change on purpose with `PHASEWALK_GOLDEN=write pytest tests/walkers/test_decks.py`.
"""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io.lammpsdata import read_lammps_data
from hypothesis import given
from hypothesis import strategies as st

from phasewalk.errors import InputError
from phasewalk.walkers import decks
from phasewalk.walkers.decks import WalkerDeck

EXAMPLES = Path(__file__).parents[2] / "lammps_inputs" / "examples"

NPT = WalkerDeck(
    walker="mil53_al-0",
    model="model.nequip.pth",
    type_names=("Al", "C", "H", "O"),
    first_step=4000,
    steps=2000,
    timestep_ps=0.0005,
    ensemble="npt",
    thermostat="langevin",
    temperature_K=300.0,
    pressure_bar=0.0,
    thermostat_damping_ps=0.1,
    barostat_damping_ps=0.5,
    velocity_seed=None,
    thermostat_seed=271828,
    plumed=True,
    sentinel=True,
    together=False,
    limits={
        "force": (50.0,),
        "temperature": (1500.0,),
        "move": (0.5,),
        "close": (0.5, 1.21, 0.76, 0.31, 0.66),
        "volume": (305.6, 1528.0),
        "tilt": (1.3,),
    },
    margin_steps=40,
    ring_every_steps=10,
    ring_frames=20,
    thermo_every_steps=50,
    dump_every_steps=50,
    device="cpu",
    bonds_every_steps=4,
    bonds_hold_steps=40,
)
NVT = replace(
    NPT, ensemble="nvt", thermostat="csvr", first_step=0, velocity_seed=314159, plumed=False,
    together=True, limits={**NPT.limits, "walltime": (3600.0,)}, bonds_every_steps=None,
)  # fmt: skip
GOLDEN = {
    "npt.lmp": decks.walker_deck(NPT),
    "nvt.lmp": decks.walker_deck(NVT),
    "segment.lmp": decks.segment_deck(["mil53_al-0", "mil53_al-1"]),
}


@pytest.mark.parametrize("device", ["cpu", "cuda", None])
def test_the_device_is_an_argument_of_the_pair_style(device: str | None) -> None:
    deck = decks.walker_deck(replace(NPT, device=device)).splitlines()
    (line,) = [line for line in deck if line.startswith("pair_style")]
    assert line == "pair_style nequip" + (f" device {device}" if device else "")


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_deck(name: str) -> None:
    path = EXAMPLES / name
    if os.environ.get("PHASEWALK_GOLDEN") == "write":
        path.write_text(GOLDEN[name])
    assert GOLDEN[name] == path.read_text()


@pytest.mark.parametrize(
    ("ensemble", "thermostat", "lines"),
    [
        (
            "nvt",
            "langevin",
            [
                "integrate all nve",
                "thermostat all langevin 300.0 300.0 0.1 271828 zero no tally yes",
            ],
        ),
        ("nvt", "csvr", ["integrate all nve", "thermostat all temp/csvr 300.0 300.0 0.1 271828"]),
        ("nvt", "nose-hoover", ["integrate all nvt temp 300.0 300.0 0.1"]),
        (
            "npt",
            "langevin",
            [
                "integrate all nph tri 0.0 0.0 0.5 ptemp 300.0 flip no",
                "thermostat all langevin 300.0 300.0 0.1 271828 zero no tally yes",
            ],
        ),
        (
            "npt",
            "csvr",
            [
                "integrate all nph tri 0.0 0.0 0.5 ptemp 300.0 flip no",
                "thermostat all temp/csvr 300.0 300.0 0.1 271828",
            ],
        ),
        ("npt", "nose-hoover", ["integrate all npt temp 300.0 300.0 0.1 tri 0.0 0.0 0.5 flip no"]),
    ],
)
def test_integrators(ensemble: str, thermostat: str, lines: list[str]) -> None:
    deck = decks.walker_deck(replace(NPT, ensemble=ensemble, thermostat=thermostat, sentinel=False))
    fixes = [line.removeprefix("fix ") for line in deck.splitlines() if line.startswith("fix ")]
    assert fixes == [
        "bias all plumed plumedfile mil53_al-0.plumed outfile mil53_al-0.plumed.log",
        *lines,
    ]


@pytest.mark.parametrize("seed", [None, 314159])
@pytest.mark.parametrize("thermostat", ["langevin", "csvr", "nose-hoover"])
def test_what_the_temperature_counts(thermostat: str, seed: int | None) -> None:
    """All 3N velocities with random forces on each atom; else the centre of mass is at rest."""
    deck = decks.walker_deck(replace(NPT, thermostat=thermostat, velocity_seed=seed)).splitlines()
    counted = [line for line in deck if line.startswith("compute_modify")]
    (velocity,) = [line for line in deck if line.startswith("velocity")] or [""]
    if thermostat == "langevin":
        assert counted == [
            "compute_modify thermo_temp extra/dof 0", "compute_modify integrate_temp extra/dof 0"
        ]  # fmt: skip
        assert velocity.endswith("mom no rot no dist gaussian temp thermo_temp" if seed else "")
        assert bool(velocity) == (seed is not None)
    else:
        assert not counted
        assert velocity.endswith("mom yes rot no dist gaussian" if seed else "all zero linear")


@pytest.mark.parametrize(
    ("ensemble", "thermostat", "drawn"),
    [
        ("nvt", "langevin", []),
        ("nvt", "csvr", []),
        ("nvt", "nose-hoover", ["phasewalk/draw integrate 271828 thermostat 0.1"]),
        ("npt", "langevin", ["phasewalk/draw integrate 271828 barostat 0.5"]),
        ("npt", "csvr", ["phasewalk/draw integrate 271828 barostat 0.5"]),
        ("npt", "nose-hoover", ["phasewalk/draw integrate 271828 thermostat 0.1 barostat 0.5"]),
    ],
)
def test_what_lammps_begins_each_run_without(
    ensemble: str, thermostat: str, drawn: list[str]
) -> None:
    """Velocities of the cell and of chains, which LAMMPS would begin with as nothing."""
    deck = decks.walker_deck(replace(NPT, ensemble=ensemble, thermostat=thermostat)).splitlines()
    assert [line for line in deck if line.startswith("phasewalk/draw")] == drawn


def test_templates_are_strict_both_ways() -> None:
    values: dict[str, Any] = {"walkers": ("a",), "ranks": 3}
    assert "world a" in decks.render("segment.lmp.j2", values)
    assert "mpiexec -n 3 lmp -partition 1x3 " in decks.render("segment.lmp.j2", values)
    with pytest.raises(InputError, match="unknown values: extra"):
        decks.render("segment.lmp.j2", {**values, "extra": 1})
    with pytest.raises(InputError, match="missing values: ranks, walkers"):
        decks.render("segment.lmp.j2", {})


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a\nshell ls",
        "$x",
        "${x}",
        '"a"',
        "a'b",
        "a&",
        "a#b",
        "-log",
        "a/b",
        "é",
        "x" * 101,
    ],
)
def test_nothing_but_plain_names_enters_a_template(name: str) -> None:
    for changed in ({"walker": name}, {"model": name}, {"type_names": ("H", name)}):
        with pytest.raises(InputError, match="use 1 to 100 letters"):
            decks.walker_deck(WalkerDeck(**{**asdict(NPT), **changed}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(InputError, match="temperature_K is"):
        decks.walker_deck(replace(NPT, temperature_K=value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_exact(value: float) -> None:
    deck = decks.walker_deck(replace(NPT, timestep_ps=value))
    (line,) = [line for line in deck.splitlines() if line.startswith("timestep ")]
    assert float(line.split()[1]) == value


def crystal() -> Atoms:
    rng = np.random.default_rng(5)
    atoms = bulk("NaCl", "rocksalt", a=5.6) * (1, 2, 1)
    atoms.positions += rng.normal(0, 0.5, atoms.positions.shape)
    atoms.set_velocities(rng.normal(0, 0.01, atoms.positions.shape))
    return atoms


def test_lammps_frame_is_a_rotation() -> None:
    atoms = crystal()
    turned = decks.lammps_frame(atoms)
    cell = turned.cell.array
    assert not np.triu(cell, 1).any()
    assert (np.diag(cell) > 0).all()
    assert turned.cell.cellpar() == pytest.approx(atoms.cell.cellpar(), rel=1e-12)
    assert turned.get_scaled_positions(wrap=False) == pytest.approx(
        atoms.get_scaled_positions(wrap=False), abs=1e-12
    )
    rotation = np.linalg.solve(atoms.cell.array, cell)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert turned.get_velocities() == pytest.approx(atoms.get_velocities() @ rotation, abs=1e-15)


def test_lammps_frame_leaves_a_lower_triangular_cell_alone() -> None:
    atoms = decks.lammps_frame(crystal())
    again = decks.lammps_frame(atoms)
    assert np.array_equal(again.cell.array, atoms.cell.array)
    assert np.array_equal(again.positions, atoms.positions)


def test_left_handed_cell_is_refused() -> None:
    atoms = crystal()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    with pytest.raises(InputError, match="left-handed"):
        decks.lammps_frame(atoms)


def test_data_file_is_exact(tmp_path: Path) -> None:
    atoms = decks.lammps_frame(crystal())
    path = tmp_path / "data"
    path.write_text(decks.data_file(atoms, ["Cl", "H", "Na"], velocities=True))
    found = read_lammps_data(path, units="metal", atom_style="atomic")
    assert np.array_equal(found.cell.array, atoms.cell.array)
    assert found.positions == pytest.approx(atoms.positions, abs=1e-14)
    assert found.get_velocities() == pytest.approx(atoms.get_velocities(), rel=1e-12)
    assert list(found.symbols) == list(atoms.symbols)
    assert " 1.008  # H" in path.read_text()


def test_orthogonal_cell_is_written_triclinic() -> None:
    text = decks.data_file(bulk("Cu", cubic=True), ["Cu"], velocities=False)
    assert "0.0 0.0 0.0 xy xz yz" in text
    assert "Velocities" not in text


def test_data_file_refuses() -> None:
    atoms = crystal()
    with pytest.raises(InputError, match="lower triangular"):
        decks.data_file(atoms, ["Na", "Cl"], velocities=False)
    lower = decks.lammps_frame(atoms)
    with pytest.raises(InputError, match="no species Cl"):
        decks.data_file(lower, ["Na"], velocities=False)
    lower.set_masses([23.0 if i == 0 else None for i in range(len(lower))])
    with pytest.raises(InputError, match="Na atoms have masses"):
        decks.data_file(lower, ["Na", "Cl"], velocities=False)
