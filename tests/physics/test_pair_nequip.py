"""pair_style nequip against the eager model in ASE, finite differences and bad input."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
import physics_lammps as engine
import physics_models as models
import pytest
import torch
from physics_models import ModelSpec

Compiled = Callable[[ModelSpec, str], Path]
Record = Callable[[str, object], None]

pytestmark = pytest.mark.engine

SPEC = ModelSpec(("H", "C", "O"))
TILTED = [[8.6, 0.0, 0.0], [4.2, 8.1, 0.0], [-4.1, 3.9, 7.7]]
SMALL = [[3.1, 0.0, 0.0], [1.2, 3.3, 0.0], [-1.4, 1.1, 3.0]]
# energy eV, forces eV/Å, stress eV/Å³; well above what is seen
LIMITS = {"float32": (5e-6, 5e-6, 5e-8), "float64": (1e-10, 1e-10, 1e-12)}


def outside(atoms: ase.Atoms) -> ase.Atoms:
    """The same crystal with its atoms in other cells."""
    shifts = np.random.default_rng(5).integers(-2, 3, atoms.positions.shape)
    moved = atoms.copy()
    moved.positions += shifts @ np.asarray(atoms.cell)
    return moved


CELLS = {
    "orthogonal": models.example(SPEC.type_names),
    "tilted": models.example(SPEC.type_names, TILTED),
    "small": models.example(SPEC.type_names, SMALL, (1, 1, 2)),
    "outside": outside(models.example(SPEC.type_names, TILTED)),
}


def eager(spec: ModelSpec, atoms: ase.Atoms) -> engine.Result:
    """What the model itself says."""
    atoms = atoms.copy()
    atoms.calc = models.calculator(spec)
    return engine.Result(
        energy=atoms.get_potential_energy(),
        energies=atoms.get_potential_energies(),
        forces=atoms.get_forces(),
        stress=atoms.get_stress() if atoms.pbc.all() else np.zeros(6),
    )


def differences(a: engine.Result, b: engine.Result) -> tuple[float, float, float]:
    """Largest differences of energies (total and per atom), forces and stress."""
    energy = float(max(abs(a.energy - b.energy), np.abs(a.energies - b.energies).max()))
    forces = float(np.abs(a.forces - b.forces).max())
    return energy, forces, float(np.abs(a.stress - b.stress).max())


def assert_same(a: engine.Result, b: engine.Result, dtype: str = "float64") -> None:
    assert np.less(differences(a, b), LIMITS[dtype]).all(), differences(a, b)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("kind", models.KINDS)
def test_parity(
    kind: str,
    dtype: str,
    cell: str,
    plugin_path: Path,
    compiled: Compiled,
    tmp_path: Path,
    record_property: Record,
) -> None:
    spec = dataclasses.replace(SPEC, dtype=dtype)
    expected = eager(spec, CELLS[cell])
    assert np.abs(expected.forces).max() > 0.05  # there is something to compare
    assert np.abs(expected.stress).min() > 1e-5
    assert np.ptp(expected.energies) > 0.5
    found = engine.single_point(
        plugin_path, tmp_path, CELLS[cell], compiled(spec, kind), spec.type_names
    )
    record_property("parity", (kind, dtype, cell, *differences(found, expected)))
    assert_same(found, expected, dtype)


@pytest.mark.parametrize("settings", [{"newton": "off"}, {"units": "real"}], ids=str)
@pytest.mark.parametrize("cell", ["tilted", "small"])
def test_settings(
    settings: dict[str, str], cell: str, plugin_path: Path, compiled: Compiled, tmp_path: Path
) -> None:
    model = compiled(SPEC, "torchscript")
    found = engine.single_point(
        plugin_path, tmp_path, CELLS[cell], model, SPEC.type_names, **settings
    )
    assert_same(found, eager(SPEC, CELLS[cell]))


def test_atoms_are_listed_in_any_order(
    plugin_path: Path, compiled: Compiled, tmp_path: Path
) -> None:
    """Types swapped between LAMMPS and the model, and one that no atom has."""
    types = ("O", "H", "C")
    atoms = CELLS["tilted"].copy()
    atoms.symbols[:] = "C"
    atoms.symbols[::2] = "O"
    found = engine.single_point(plugin_path, tmp_path, atoms, compiled(SPEC, "torchscript"), types)
    assert_same(found, eager(SPEC, atoms))


def test_two_types_of_one_name(plugin_path: Path, compiled: Compiled, tmp_path: Path) -> None:
    atoms = models.example(("C", "O"), TILTED)
    data = engine.write_data(tmp_path / "two.data", atoms, ("C", "O"))
    pair = engine.pair_text(compiled(SPEC, "torchscript"), ("C", "C")) + "\nmass 2 12.011"
    with engine.lammps(plugin_path, tmp_path / "log") as lmp:
        engine.setup(lmp, data, pair)
        lmp.command("run 0")
        found = engine.read(lmp)
    atoms.symbols[:] = "C"
    assert_same(found, eager(SPEC, atoms))


def test_one_type(plugin_path: Path, compiled: Compiled, tmp_path: Path) -> None:
    spec = ModelSpec(("Si",), seed=3)
    atoms = models.example(("Si",), TILTED)
    found = engine.single_point(
        plugin_path, tmp_path, atoms, compiled(spec, "torchscript"), spec.type_names
    )
    assert_same(found, eager(spec, atoms))


def test_cutoffs_per_edge_type(plugin_path: Path, compiled: Compiled, tmp_path: Path) -> None:
    """Every ordered pair has its own; the other order would differ."""
    names = ("H", "C")
    cutoffs = (("H", "H", 2.5), ("H", "C", 3.0), ("C", "H", 4.0), ("C", "C", 3.5))
    swapped = (("H", "H", 2.5), ("H", "C", 4.0), ("C", "H", 3.0), ("C", "C", 3.5))
    spec = ModelSpec(names, per_edge_type_cutoff=cutoffs)
    atoms = models.example(names, TILTED)
    expected = eager(spec, atoms)
    other = eager(ModelSpec(names, per_edge_type_cutoff=swapped), atoms)
    assert abs(expected.energy - other.energy) > 1e-3
    found = engine.single_point(plugin_path, tmp_path, atoms, compiled(spec, "torchscript"), names)
    assert_same(found, expected)


@pytest.mark.parametrize("length", [3.0, 30.0], ids=["crystal", "isolated"])
@pytest.mark.parametrize("kind", models.KINDS)
def test_single_atom(
    kind: str, length: float, plugin_path: Path, compiled: Compiled, tmp_path: Path
) -> None:
    """One atom with its own images only, and one with no edge at all."""
    atoms = ase.Atoms("C", cell=[length] * 3, pbc=True, positions=[[0.1, 0.2, 0.3]])
    found = engine.single_point(plugin_path, tmp_path, atoms, compiled(SPEC, kind), SPEC.type_names)
    assert_same(found, eager(SPEC, atoms))


def test_not_periodic(plugin_path: Path, compiled: Compiled, tmp_path: Path) -> None:
    atoms = CELLS["orthogonal"].copy()
    atoms.positions += 2.0
    atoms.set_cell([14.0] * 3)
    atoms.pbc = False
    found = engine.single_point(
        plugin_path,
        tmp_path,
        atoms,
        compiled(SPEC, "torchscript"),
        SPEC.type_names,
        boundary="f f f",
    )
    assert_same(dataclasses.replace(found, stress=np.zeros(6)), eager(SPEC, atoms))


def test_virial_and_forces_by_finite_differences(
    plugin_path: Path, compiled: Compiled, tmp_path: Path
) -> None:
    """All six components, by deformations that keep the cell lower triangular."""
    model = compiled(SPEC, "aotinductor")
    atoms = CELLS["tilted"]

    def point(deformation: np.ndarray, shift: np.ndarray) -> engine.Result:
        moved = atoms.copy()
        moved.set_cell(np.asarray(atoms.cell) @ deformation)
        moved.positions = (atoms.positions + shift) @ deformation
        return engine.single_point(plugin_path, tmp_path, moved, model, SPEC.type_names)

    reference = point(np.eye(3), np.zeros((1, 3)))
    step = 1e-4
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (2, 1), (2, 0), (1, 0)]):
        strain = np.zeros((3, 3))
        strain[i, j] = step
        ends = [point(np.eye(3) + s * strain, np.zeros((1, 3))).energy for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
        assert reference.stress[voigt] == pytest.approx(slope, rel=1e-5, abs=1e-9)
    direction = np.random.default_rng(2).normal(size=atoms.positions.shape)
    ends = [point(np.eye(3), s * step * direction).energy for s in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert -np.sum(reference.forces * direction) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("kind", models.KINDS)
def test_dynamics_conserves_and_stays_exact(
    kind: str, plugin_path: Path, compiled: Compiled, tmp_path: Path
) -> None:
    """NVE conserves; after many neighbour lists, in a changed cell, forces are still ASE's."""
    data = engine.write_data(tmp_path / "md.data", CELLS["tilted"], SPEC.type_names)
    pair = engine.pair_text(compiled(SPEC, kind), SPEC.type_names)
    with engine.lammps(plugin_path, tmp_path / "log") as lmp:
        engine.setup(lmp, data, pair)
        lmp.commands_string(
            """
            neighbor 0.3 bin
            neigh_modify every 5 delay 0 check no
            atom_modify sort 5 3.0
            timestep 0.0001
            velocity all create 600 4711
            fix move all nve
            run 0
            """
        )
        kinetic = lmp.get_thermo("ke")
        # the crystal drifts, so that atoms leave through the box's faces all the time
        lmp.commands_string("variable vx atom vx+150\nvelocity all set v_vx NULL NULL\nrun 0")
        total, started = [], lmp.get_thermo("ke")
        for _ in range(200):
            lmp.command("run 1 pre no post no")
            total.append(lmp.get_thermo("etotal"))
        assert np.ptp(total) < 2e-3 * kinetic
        assert abs(lmp.get_thermo("ke") - started) > 2e-2 * kinetic
        lmp.commands_string(
            """
            unfix move
            timestep 0.0005
            fix move all npt temp 600 600 0.02 tri 3000 3000 0.1
            run 200
            """
        )
        found = engine.read(lmp)
        atoms = final_frame(lmp)
    assert abs(atoms.get_volume() / CELLS["tilted"].get_volume() - 1) > 1e-3
    assert_same(found, eager(SPEC, atoms))


def final_frame(lmp: Any) -> ase.Atoms:
    """LAMMPS's atoms by ID, with the cell as it is now."""
    n = lmp.extract_global("nlocal")
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    low, high, xy, yz, xz, _, _ = lmp.extract_box()
    size = np.subtract(high, low)
    cell = [[size[0], 0, 0], [xy, size[1], 0], [xz, yz, size[2]]]
    types = lmp.numpy.extract_atom("type")[:n][order]
    return ase.Atoms(
        [SPEC.type_names[t - 1] for t in types],
        positions=np.array(lmp.numpy.extract_atom("x")[:n])[order],
        cell=cell,
        pbc=True,
    )


def test_stamp(plugin_path: Path, tmp_path: Path) -> None:
    """The library says what it was built against, and it is what runs here."""
    import torch

    with engine.lammps(plugin_path, tmp_path / "log") as lmp:
        stamp = ctypes.CDLL(str(plugin_path)).phasewalk_plugin_stamp
        stamp.restype = ctypes.c_char_p
        facts = json.loads(stamp())
        assert facts["lammps"] == lmp.version()
    assert facts["torch"] == str(torch.__version__)
    assert {"plugin", "plumed", "compiler", "lammps_sizes"} <= facts.keys()


# ---- bad input -----------------------------------------------------------------------------------


@pytest.fixture(name="fails")
def _fails(plugin_path: Path, tmp_path: Path) -> Callable[..., None]:
    """`fails(pair text, expected words, **settings)`: the run ends in an error of one sentence."""
    data = engine.write_data(tmp_path / "bad.data", CELLS["tilted"], SPEC.type_names)

    def run(pair: str, **settings: Any) -> None:
        with engine.lammps(plugin_path, tmp_path / "log") as lmp:
            engine.setup(lmp, data, pair, **settings)
            lmp.command("run 0")

    def check(pair: str, words: str, **settings: Any) -> None:
        with pytest.raises(Exception, match=words) as caught:
            run(pair, **settings)
        assert str(caught.value).split("\n")[0].startswith("ERROR: ")

    return check


def edited(package: Path, to: Path, **changes: str) -> Path:
    """A copy of an AOTInductor package with other metadata."""
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(to, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith("_metadata.json"):
                facts = json.loads(content)
                assert changes.keys() <= facts.keys(), facts
                content = json.dumps(facts | changes).encode()
            new.writestr(item, content)
    return to


def test_wrong_type_names(fails: Callable[..., None], compiled: Compiled) -> None:
    model = compiled(SPEC, "torchscript")
    fails(engine.pair_text(model, ("H", "C", "Zn")), "type 3 is mapped to 'Zn'.*types are: H C O")
    fails(engine.pair_text(model, ("H", "C")), "type name of each of the 3 atom types")
    fails(engine.pair_text(model, SPEC.type_names).replace("* *", "1 1"), r"must start with \* \*")
    fails(
        engine.pair_text(model, ("C", "H", "O")),
        "names C for atom type 1, whose mass .* that of H;",
    )
    fails("pair_style nequip 5.0", r"unknown keyword '5.0' \(known: timing, device\)")


def on(pair: str, device: str) -> str:
    """The same two commands with the device named."""
    return pair.replace("nequip\n", f"nequip device {device}\n")


def test_device(
    fails: Callable[..., None], plugin_path: Path, compiled: Compiled, tmp_path: Path
) -> None:
    pair = engine.pair_text(compiled(SPEC, "torchscript"), SPEC.type_names)
    fails(on(pair, "tpu"), "device must be cpu or cuda, found tpu")
    fails(on(pair, ""), "device must be cpu or cuda, found nothing")
    if not torch.cuda.is_available():
        fails(on(pair, "cuda"), "device cuda was requested, but torch finds no GPU.*use device cpu")
    fails(f"{pair}\npair_style nequip device cpu", "pair coeffs are not set")
    data = engine.write_data(tmp_path / "x.data", CELLS["tilted"], SPEC.type_names)
    with engine.lammps(plugin_path, tmp_path / "log") as lmp:
        engine.setup(lmp, data, on(pair, "cpu").replace("device", "timing device"))
        lmp.command("run 0")
        assert_same(engine.read(lmp), eager(SPEC, CELLS["tilted"]))
    assert " on cpu, cutoff" in (tmp_path / "log").read_text()
    assert "ms each in the model" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("ending", models.KINDS.values())
def test_bad_files(fails: Callable[..., None], tmp_path: Path, ending: str) -> None:
    fails(engine.pair_text(tmp_path / f"none{ending}", SPEC.type_names), "does not exist")
    fails(engine.pair_text(tmp_path / "model.pth", SPEC.type_names), "must end in .nequip.pth")
    (tmp_path / f"corrupt{ending}").write_bytes(b"PK\x03\x04 and then nothing")
    corrupt = engine.pair_text(tmp_path / f"corrupt{ending}", SPEC.type_names)
    fails(corrupt, r"cannot be loaded with torch.*damaged")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("AOTI_DEVICE_KEY", "cuda", "compiled for cuda, but torch finds no GPU"),
        ("AOTI_MACHINE", "riscv64", "compiled for a riscv64 machine"),
        ("nequip_aoti_outputs", "total_energy", "not compiled for the target pair_nequip"),
    ],
)
def test_package_for_something_else(
    key: str,
    value: str,
    words: str,
    fails: Callable[..., None],
    compiled: Compiled,
    tmp_path: Path,
) -> None:
    package = edited(compiled(SPEC, "aotinductor"), tmp_path / "x.nequip.pt2", **{key: value})
    fails(engine.pair_text(package, SPEC.type_names), words)


@pytest.mark.parametrize(("built", "asked"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_package_for_another_device(
    built: str, asked: str, fails: Callable[..., None], compiled: Compiled, tmp_path: Path
) -> None:
    whole = compiled(SPEC, "aotinductor")
    package = edited(whole, tmp_path / "x.nequip.pt2", AOTI_DEVICE_KEY=built)
    no_gpu = asked == "cuda" and not torch.cuda.is_available()
    words = "finds no GPU" if no_gpu else f"compiled for {built}, but device {asked} was requested"
    fails(on(engine.pair_text(package, SPEC.type_names), asked), words)


def test_wrong_surroundings(fails: Callable[..., None], compiled: Compiled) -> None:
    pair = engine.pair_text(compiled(SPEC, "torchscript"), SPEC.type_names)
    fails(pair, "requires units metal or real, found units si", units="si")
    fails(pair + "\nneigh_modify exclude type 1 1", "requires all neighbours")
    stress = "\ncompute s all stress/atom NULL\ncompute m all reduce max c_s[1]\n"
    fails(pair + stress + "fix out all ave/time 1 1 1 c_m", "no per-atom virial")


def test_atoms_without_ids(plugin_path: Path, compiled: Compiled, tmp_path: Path) -> None:
    pair = engine.pair_text(compiled(SPEC, "torchscript"), SPEC.type_names)
    deck = f"""
        units metal
        atom_modify id no
        region box block 0 8 0 8 0 8
        create_box 3 box
        create_atoms 1 single 1 1 1
        mass * 1.0
        {pair}
        run 0
        """
    words = "requires atom IDs: use atom_modify id yes"
    with engine.lammps(plugin_path, tmp_path / "log") as lmp, pytest.raises(Exception, match=words):
        lmp.commands_string(deck)
