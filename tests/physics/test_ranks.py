"""A walker on several MPI ranks: everything is as on one."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
import physics_lammps as engine
import physics_models as models
import physics_training
import pytest
from physics_models import ModelSpec

from phasewalk.checks import deployment
from phasewalk.engines.local import LocalLauncher
from phasewalk.walkers import decks

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
# three layers: features of ghosts are exchanged twice, forth and back
SPEC = ModelSpec(("Al", "C", "H", "O"), num_layers=3)
TILTED = [[8.6, 0.0, 0.0], [4.2, 8.1, 0.0], [-4.1, 3.9, 7.7]]
THIN = [[3.1, 0.0, 0.0], [1.2, 9.3, 0.0], [-1.4, 1.1, 3.0]]
# energy eV, forces eV/Å, pressure bar; well above what is seen
LIMITS = {"float64": (1e-9, 1e-10, 1e-5), "float32": (2e-4, 2e-5, 2.0)}


def material() -> ase.Atoms:
    """304 atoms of MIL-53(Al)."""
    atoms = decks.lammps_frame(ase.io.read(ROOT / "examples/mil53_al/mil53_al.extxyz"))
    return decks.lammps_frame(atoms.repeat((2, 2, 2)))


def corner() -> ase.Atoms:
    """A few atoms in one corner of a large cell: most ranks have none."""
    atoms = models.example(SPEC.type_names, (5.0, 5.0, 5.0), (2, 2, 2))
    atoms.set_cell([40.0, 30.0, 20.0])
    return atoms


CELLS = {
    "material": material,
    "orthogonal": lambda: models.example(SPEC.type_names),
    "tilted": lambda: models.example(SPEC.type_names, TILTED),
    "thin": lambda: models.example(SPEC.type_names, THIN, (1, 3, 1)),
    "corner": corner,
}
RANKS = {"material": (2,), "orthogonal": (3,), "tilted": (2, 3, 4), "thin": (3,), "corner": (4,)}


@pytest.fixture(name="model")
def _model(request: pytest.FixtureRequest, model_cache: Path, tmp_path: Path) -> str:
    """A model's files for one and for several ranks; the name of the first. (kind, dtype)"""
    kind, dtype = getattr(request, "param", ("torchscript", "float64"))
    return files(kind, dtype, model_cache, tmp_path)


def files(kind: str, dtype: str, cache: Path, folder: Path, spec: ModelSpec = SPEC) -> str:
    spec = dataclasses.replace(spec, dtype=dtype)
    ending = models.KINDS[kind]
    shutil.copy(models.compiled(spec, kind, cache), folder / f"model{ending}")
    shutil.copy(models.for_ranks(spec, kind, cache), folder / f"model.exchange{ending}")
    return f"model{ending}"


BOTH = pytest.mark.parametrize(
    "model",
    [(k, d) for k in models.KINDS for d in LIMITS],
    indirect=True,
    ids=lambda p: "-".join(p),
)


def deck(model: str, more: str, *, newton: str = "on", pair: str = "") -> str:
    """A walker of `x.data`, and what it prints with all digits."""
    return f"""
        units metal
        newton {newton}
        atom_style atomic
        box tilt large
        read_data x.data
        pair_style nequip {pair}
        pair_coeff * * {model} {" ".join(SPEC.type_names)}
        thermo_style custom step pe ke pxx pyy pzz pxy pxz pyz vol
        thermo_modify format float %.15g lost error
        {more}
        """


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run has printed: rows of step, energies (eV), pressures (bar), volume; last forces."""

    thermo: np.ndarray
    forces: np.ndarray

    @property
    def pressures(self) -> np.ndarray:
        return self.thermo[:, 3:9]


FORCES = "dump f all custom 1000000 forces id fx fy fz\n dump_modify f sort id format float %.15g"
POINT = f"{FORCES}\n run 0"


def run(plugin: Path, folder: Path, text: str, ranks: int) -> Run:
    """Raises AssertionError if LAMMPS fails."""
    done = engine.run_program(plugin, folder, text, ranks=ranks)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    dump = folder / "forces"
    text = dump.read_text().rpartition("id fx fy fz\n")[2] if dump.exists() else ""
    forces = [[float(word) for word in line.split()[1:]] for line in text.splitlines()]
    return Run(rows(done.stdout), np.array(forces))


def rows(log: str) -> np.ndarray:
    """The rows of the thermo output, each step once."""
    lines = (line.split() for line in log.splitlines())
    found = {int(w[0]): w for w in lines if len(w) == 10 and w[0].isdigit()}
    return np.array([found[step] for step in sorted(found)], dtype=float)


def write(folder: Path, atoms: ase.Atoms) -> None:
    engine.write_data(folder / "x.data", atoms, SPEC.type_names)


def assert_same(found: Run, expected: Run, limits: tuple[float, float, float]) -> None:
    energy = np.abs(found.thermo[:, 1] - expected.thermo[:, 1]).max()
    pressure = np.abs(found.pressures - expected.pressures).max()
    forces = np.abs(found.forces - expected.forces).max()
    assert np.less((energy, forces, pressure), limits).all(), (energy, forces, pressure)


@BOTH
@pytest.mark.parametrize("cell", CELLS)
def test_a_point(
    cell: str, model: str, plugin_path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Energy, forces and six pressures."""
    _, dtype = request.node.callspec.params["model"]
    write(tmp_path, CELLS[cell]())
    one = run(plugin_path, tmp_path, deck(model, POINT), 1)
    assert np.abs(one.forces).max() > 0.05  # there is something to compare
    assert np.abs(one.pressures).min() > 1.0
    for ranks in RANKS[cell]:
        assert_same(run(plugin_path, tmp_path, deck(model, POINT), ranks), one, LIMITS[dtype])


@pytest.mark.parametrize("model", [(k, "float64") for k in models.KINDS], indirect=True, ids=str)
def test_the_file_for_ranks_on_one_rank(model: str, plugin_path: Path, tmp_path: Path) -> None:
    """If it is named; with a single atom, it is padded between atoms and ghosts."""
    write(tmp_path, ase.Atoms("C", cell=[3.0] * 3, pbc=True, positions=[[0.1, 0.2, 0.3]]))
    one = run(plugin_path, tmp_path, deck(model, POINT), 1)
    named = model.replace(".nequip", ".exchange.nequip")
    for name, ranks in ((named, 1), (named, 2), (model, 4)):
        found = run(plugin_path, tmp_path, deck(name, POINT), ranks)
        assert_same(found, one, LIMITS["float64"])


@pytest.mark.parametrize("model", [(k, "float64") for k in models.KINDS], indirect=True, ids=str)
def test_dynamics(model: str, plugin_path: Path, tmp_path: Path) -> None:
    """Atoms migrate, the cell changes, and the thermo output stays that of one rank."""
    write(tmp_path, CELLS["tilted"]())
    text = deck(
        model,
        f"""
        neighbor 0.3 bin
        neigh_modify every 5 delay 0 check no
        timestep 0.0005
        velocity all create 400 4711 loop all
        variable vx atom vx+60
        velocity all set v_vx NULL NULL
        fix move all npt temp 400 400 0.05 tri 1000 1000 0.5
        thermo 10
        {FORCES}
        run 100
        """,
    )
    one = run(plugin_path, tmp_path, text, 1)
    assert abs(one.thermo[-1, 9] / one.thermo[0, 9] - 1) > 1e-3
    for ranks in (2, 4):
        several = run(plugin_path, tmp_path, text, ranks)
        np.testing.assert_allclose(several.thermo, one.thermo, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("newton", ["on", "off"])
def test_newton(newton: str, model: str, plugin_path: Path, tmp_path: Path) -> None:
    """With newton off, LAMMPS does not sum the forces on ghosts."""
    write(tmp_path, CELLS["tilted"]())
    one = run(plugin_path, tmp_path, deck(model, POINT), 1)
    found = run(plugin_path, tmp_path, deck(model, POINT, newton=newton), 3)
    assert_same(found, one, LIMITS["float64"])


def fails(plugin: Path, folder: Path, text: str, ranks: int = 2) -> str:
    done = engine.run_program(plugin, folder, text, ranks=ranks)
    assert done.returncode != 0
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1, done.stdout + done.stderr
    return errors[0]


def test_without_the_file_for_ranks(model: str, plugin_path: Path, tmp_path: Path) -> None:
    write(tmp_path, CELLS["tilted"]())
    other = tmp_path / "model.exchange.nequip.pth"
    shutil.copy(tmp_path / model, other)
    told = fails(plugin_path, tmp_path, deck(model, "run 0"))
    assert "model.exchange.nequip.pth is for one MPI rank, found 2; make one with" in told
    other.unlink()
    told = fails(plugin_path, tmp_path, deck(model, "run 0"))
    words = (
        r"on 2 MPI ranks the file model.exchange.nequip.pth is needed beside model.nequip.pth; "
        r"make it with phasewalk deploy CHECKPOINT --target ranks -o model.exchange.nequip.pth"
    )
    assert re.search(words, told)


MD = "neighbor 0.3 bin\n timestep 0.0005\n fix move all nve\n thermo 10"
START = "velocity all create 400 4711 loop all"


@pytest.mark.parametrize("style", ["shift xyz 5 1.0", "rcb"])
def test_balance(style: str, model: str, plugin_path: Path, tmp_path: Path) -> None:
    """Atoms that change their rank while the run goes on, in bricks and in tiles."""
    write(tmp_path, corner())
    tiles = "comm_style tiled" if style == "rcb" else ""
    one = run(plugin_path, tmp_path, deck(model, f"{START}\n{MD}\n run 40"), 1)
    balance = f"{tiles}\n {START}\n {MD}\n fix share all balance 10 1.0 {style}\n run 40"
    several = run(plugin_path, tmp_path, deck(model, balance), 4)
    np.testing.assert_allclose(several.thermo, one.thermo, rtol=1e-7, atol=1e-6)


def test_a_restart_on_another_number_of_ranks(
    model: str, plugin_path: Path, tmp_path: Path
) -> None:
    write(tmp_path, CELLS["tilted"]())
    whole = run(plugin_path, tmp_path, deck(model, f"{START}\n{MD}\n run 40"), 1)
    first = deck(model, f"{START}\n{MD}\n run 20\n write_restart half")
    run(plugin_path, tmp_path, first, 2)
    second = deck(model, f"{MD}\n run 20").replace("read_data x.data", "read_restart half")
    rest = run(plugin_path, tmp_path, second, 3)
    np.testing.assert_allclose(rest.thermo, whole.thermo[2:], rtol=1e-7, atol=1e-6)


def test_partitions_of_ranks(model: str, plugin_path: Path, tmp_path: Path) -> None:
    write(tmp_path, CELLS["tilted"]())
    one = run(plugin_path, tmp_path, deck(model, "run 0"), 1)
    text = f"variable w world 1 2\n log walker.$w\n {deck(model, 'run 0')}"
    done = engine.run_program(plugin_path, tmp_path, text, "-partition", "2x2", ranks=4)
    assert done.returncode == 0, done.stdout + done.stderr
    for walker in (1, 2):
        found = rows((tmp_path / f"walker.{walker}").read_text())
        np.testing.assert_allclose(found, one.thermo, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("mode", models.KINDS)
def test_what_deploy_makes(
    mode: str, workshop: physics_training.Workshop, plugin_path: Path, tmp_path: Path
) -> None:
    """A trained model, with its repulsion of close atoms, for one rank and for several."""
    recipe = physics_training.Recipe(dtype="float64")
    for target, name in (("lammps", "model"), ("ranks", "model.exchange")):
        deployment.deploy(
            workshop.train(recipe).checkpoint, tmp_path / f"{name}{models.KINDS[mode]}",
            mode=mode, device="cpu", target=target, launcher=LocalLauncher(),
            cache=tmp_path / "cache", place=tmp_path / target, trusted=True, show=print,
        )  # fmt: skip
    salt = decks.lammps_frame(physics_training.frames(1)[0].repeat((2, 1, 1)))
    salt.positions[0, 0] += 0.9
    assert salt.get_all_distances(mic=True)[0, 1:].min() < 2.1  # within the range of the repulsion
    engine.write_data(tmp_path / "x.data", salt, physics_training.SPECIES)
    text = deck(f"model{models.KINDS[mode]}", POINT)
    text = text.replace(" ".join(SPEC.type_names), " ".join(physics_training.SPECIES))
    one = run(plugin_path, tmp_path, text, 1)
    assert np.abs(one.forces).max() > 0.05
    assert_same(run(plugin_path, tmp_path, text, 2), one, LIMITS["float64"])
