"""fix plumed against analytic restraints, `plumed driver`, itself restarted, and bad input."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import ase
import numpy as np
import physics_lammps as engine
import physics_models as models
import pytest
from numpy.typing import NDArray

from phasewalk.engines.discovery import Engines, Plumed

pytestmark = pytest.mark.engine

EV = 96.48530749925792  # kJ/mol
LENNARD_JONES = "pair_style lj/cut 5.2\npair_coeff * * 0.0104 3.4"
NOTHING = "pair_style zero 5.2\npair_coeff * *"
METAD = """
d: DISTANCE ATOMS=1,2
m: METAD ARG=d PACE=10 HEIGHT=0.2 SIGMA=0.02 FILE=HILLS FMT=%24.17g
PRINT ARG=d,m.bias STRIDE=5 FILE=COLVAR FMT=%.15g
"""

Array = NDArray[np.float64]
Deck = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(name="deck")
def _deck(plugin_path: Path, plumed_kernel: str, tmp_path: Path) -> Deck:
    """`with deck(plumed text) as lmp`: argon with fix plumed; PLUMED's files in tmp_path."""
    data = engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))

    @contextmanager
    def start(text: str, *, pair: str = NOTHING, units: str = "metal") -> Iterator[Any]:
        with engine.lammps(plugin_path, tmp_path / "log.lammps") as lmp:
            engine.setup(lmp, data, pair, units=units)
            lmp.command(f"timestep {0.002 * (1000 if units == 'real' else 1)}")
            lmp.commands_string(f"velocity all create 60 4711\n{fix_plumed(tmp_path, text)}")
            yield lmp

    return start


def in_folder(folder: Path, text: str) -> str:
    """PLUMED text whose files lie in `folder`."""
    return re.sub(r"FILE=(\w+)", rf"FILE={folder}/\1", text)


def fix_plumed(folder: Path, text: str) -> str:
    """The fix, with its PLUMED file written."""
    (folder / "plumed.dat").write_text(in_folder(folder, text))
    return f'fix bias all plumed plumedfile "{folder}/plumed.dat" outfile "{folder}/plumed.log"'


def table(path: Path) -> Array:
    """The numbers of a COLVAR or HILLS file."""
    return np.loadtxt(path, ndmin=2)


# ---- against formulas ----------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["metal", "real"])
def test_distance_restraint(units: str, deck: Deck) -> None:
    """Energy, forces and all six stress components of a harmonic bond, by hand."""
    atoms = engine.argon()
    bond = atoms.get_distance(0, 5, mic=True, vector=True)
    length = np.linalg.norm(bond)
    assert np.abs(bond).min() > 0.3  # no component of the virial is zero
    stiffness, target = 800.0 / EV / 100, length - 0.7  # eV/Å², Å
    pull = -stiffness * (length - target) * bond / length  # on the second atom
    with deck(
        f"d: DISTANCE ATOMS=1,6\nRESTRAINT ARG=d KAPPA=800 AT={target / 10:.15g}", units=units
    ) as lmp:
        lmp.command("run 0")
        found = engine.read(lmp)
    forces = np.zeros((len(atoms), 3))
    forces[5], forces[0] = pull, -pull
    stress = -np.outer(bond, pull) / atoms.get_volume()
    assert found.energy == pytest.approx(0.5 * stiffness * 0.7**2, rel=1e-6)
    np.testing.assert_allclose(found.forces, forces, rtol=1e-6, atol=1e-12)
    voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(found.stress, voigt, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("units", ["metal", "real"])
def test_volume_restraint(units: str, deck: Deck) -> None:
    """A bias on the cell alone: dE/dV on the diagonal of the stress, no forces."""
    volume = engine.argon().get_volume()
    stiffness = 50.0 / EV / 1e6  # eV/Å⁶
    text = f"v: VOLUME\nRESTRAINT ARG=v KAPPA=50 AT={volume / 1000 - 0.1:.15g}"
    with deck(text, units=units) as lmp:
        lmp.command("run 0")
        found = engine.read(lmp)
    assert found.energy == pytest.approx(0.5 * stiffness * 100.0**2, rel=1e-6)
    expected = np.array([1, 1, 1, 0, 0, 0]) * stiffness * 100.0
    np.testing.assert_allclose(found.stress, expected, rtol=1e-6, atol=1e-14)
    assert np.abs(found.forces).max() < 1e-12


def test_natural_units(deck: Deck) -> None:
    """Units lj are PLUMED's natural units."""
    bond = engine.argon().get_distance(0, 5, mic=True)
    text = f"UNITS NATURAL\nd: DISTANCE ATOMS=1,6\nRESTRAINT ARG=d KAPPA=8 AT={bond - 0.7:.15g}"
    with deck(text, units="lj") as lmp:
        lmp.commands_string("thermo_modify norm no\nrun 0")
        assert lmp.get_thermo("pe") == pytest.approx(4 * 0.7**2, rel=1e-9)


def test_energy_restraint(deck: Deck) -> None:
    """A bias that is linear in the potential energy scales all forces and the whole virial."""
    slope = 0.3
    results = []
    for text in ("e: ENERGY\nPRINT ARG=e FILE=E", f"e: ENERGY\nRESTRAINT ARG=e SLOPE={slope} AT=0"):
        with deck(text, pair=LENNARD_JONES) as lmp:
            lmp.commands_string("fix move all nve\nrun 0\nrun 20")
            lmp.commands_string("reset_timestep 0\nrun 0")
            results.append(engine.read(lmp))
            bias = lmp.extract_fix("bias", 0, 0)
        if len(results) == 1:
            with deck(f"e: ENERGY\nRESTRAINT ARG=e SLOPE={slope} AT=0", pair=LENNARD_JONES) as lmp:
                lmp.command("run 0")
                start = engine.read(lmp)
            with deck("d: DISTANCE ATOMS=1,2", pair=LENNARD_JONES) as lmp:
                lmp.command("run 0")
                plain = engine.read(lmp)
            np.testing.assert_allclose(start.forces, (1 + slope) * plain.forces, rtol=1e-8)
            np.testing.assert_allclose(start.stress, (1 + slope) * plain.stress, rtol=1e-8)
            assert start.energy == pytest.approx((1 + slope) * plain.energy, rel=1e-8)
    assert bias == pytest.approx(slope / (1 + slope) * results[1].energy, rel=1e-8)


def test_fix_modify(deck: Deck) -> None:
    """`energy no` and `virial no` take the bias out of LAMMPS's energy and pressure."""
    with deck("d: DISTANCE ATOMS=1,6\nRESTRAINT ARG=d KAPPA=800 AT=0.2") as lmp:
        lmp.commands_string("fix_modify bias energy no virial no\nrun 0")
        found = engine.read(lmp)
        assert lmp.extract_fix("bias", 0, 0) > 0.1
    assert found.energy == 0.0
    assert np.abs(found.stress).max() == 0.0
    assert np.abs(found.forces).max() > 0.05


# ---- against plumed driver -----------------------------------------------------------------------


def driver(folder: Path, text: str, frames: list[ase.Atoms], *options: str) -> None:
    """`plumed driver` on frames, its files in `folder`; unit of length Å."""
    with (folder / "frames.xyz").open("w") as file:
        for atoms in frames:
            cell = " ".join(f"{x:.17g}" for x in np.asarray(atoms.cell).ravel())
            file.write(f"{len(atoms)}\n{cell}\n")
            file.writelines(
                "Ar {:.17g} {:.17g} {:.17g}\n".format(*position) for position in atoms.positions
            )
    (folder / "driver.dat").write_text(in_folder(folder, text))
    program = [str(Path(sys.prefix) / "bin" / "plumed"), "driver"]
    program += ["--plumed", "driver.dat", "--ixyz", "frames.xyz", "--length-units", "A"]
    done = subprocess.run(
        [*program, "--timestep", "0.002", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def frame(lmp: Any) -> ase.Atoms:
    """The atoms by ID, Å."""
    n = lmp.extract_global("nlocal")
    order = np.argsort(lmp.numpy.extract_atom("id")[:n])
    positions = np.array(lmp.numpy.extract_atom("x")[:n])[order]
    low, high, xy, yz, xz, _, _ = lmp.extract_box()
    size = np.subtract(high, low)
    cell = [[size[0], 0, 0], [xy, size[1], 0], [xz, yz, size[2]]]
    return ase.Atoms(f"Ar{n}", positions=positions - low, cell=cell, pbc=True)


def test_against_driver(deck: Deck, tmp_path: Path) -> None:
    """The same collective variables and hills along a trajectory in which atoms change places."""
    text = """
        d: DISTANCE ATOMS=1,20
        t: TORSION ATOMS=3,9,14,30
        c: COORDINATION GROUPA=1-8 GROUPB=9-32 R_0=0.45
        v: VOLUME
        b: CELL
        m: METAD ARG=d,v PACE=4 HEIGHT=3 SIGMA=0.05,0.05 FILE=HILLS FMT=%24.17g
        PRINT ARG=d,t,c,v,b.*,m.bias FILE=COLVAR FMT=%.15g
        """
    frames = []
    with deck(text, pair=LENNARD_JONES) as lmp:
        lmp.commands_string(
            """
            atom_modify sort 7 3.0
            neigh_modify every 1 delay 0
            velocity all create 300 99
            fix move all npt temp 300 300 0.1 tri 500 500 0.5
            run 0
            """
        )
        frames.append(frame(lmp))
        for _ in range(40):
            lmp.command("run 1")
            frames.append(frame(lmp))
        ids = lmp.numpy.extract_atom("id")[:32]
        assert (ids != np.arange(1, 33)).any()  # LAMMPS did reorder them
    (tmp_path / "driver").mkdir()
    driver(tmp_path / "driver", text, frames)
    colvar = table(tmp_path / "COLVAR")
    assert len(colvar) == 41
    assert colvar[-1, -1] > 1.0  # kJ/mol of bias
    np.testing.assert_allclose(colvar, table(tmp_path / "driver" / "COLVAR"), rtol=1e-8, atol=1e-9)
    hills = table(tmp_path / "HILLS")
    assert len(hills) == 10
    np.testing.assert_allclose(hills, table(tmp_path / "driver" / "HILLS"), rtol=1e-8)


def test_forces_against_driver(deck: Deck, tmp_path: Path) -> None:
    text = """
        c: COORDINATION GROUPA=1-8 GROUPB=9-32 R_0=0.45
        t: TORSION ATOMS=3,9,14,30
        v: VOLUME
        RESTRAINT ARG=c,t,v KAPPA=3,50,90 AT=20,1.0,1.1
        """
    with deck(text) as lmp:
        lmp.command("run 0")
        found = engine.read(lmp)
    options = ["--dump-forces", "forces.xyz", "--dump-forces-fmt", "%.14g", "--dump-full-virial"]
    driver(tmp_path, text, [engine.argon()], *options)
    lines = (tmp_path / "forces.xyz").read_text().splitlines()
    virial = np.array(lines[1].split(), float).reshape(3, 3) / EV  # PLUMED's sign: minus LAMMPS's
    forces = np.array([line.split()[1:] for line in lines[2:]], float) / EV
    assert np.abs(forces).max() > 0.01
    np.testing.assert_allclose(found.forces, forces, rtol=1e-7, atol=1e-11)
    stress = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / engine.argon().get_volume()
    np.testing.assert_allclose(found.stress, stress, rtol=1e-7, atol=1e-12)


# ---- dynamics ------------------------------------------------------------------------------------


def test_energy_is_conserved_with_the_bias(deck: Deck) -> None:
    text = "d: DISTANCE ATOMS=1,2\nt: TORSION ATOMS=1,2,3,4\nRESTRAINT ARG=d,t KAPPA=900,9 AT=0.2,0"
    drift = {}
    for energy in ("yes", "no"):
        with deck(text, pair=LENNARD_JONES + "\npair_modify shift yes") as lmp:
            lmp.commands_string("neigh_modify every 1 delay 0")
            lmp.commands_string(f"fix_modify bias energy {energy}\nfix move all nve\nrun 0")
            start, kinetic = lmp.get_thermo("etotal"), lmp.get_thermo("ke")
            lmp.command("run 300")
            drift[energy] = abs(lmp.get_thermo("etotal") - start) / kinetic
    assert drift["yes"] < 2e-3
    assert drift["no"] > 2e-2  # the same number without the bias


def test_volume_restraint_holds_in_npt(deck: Deck) -> None:
    target = 1.06 * engine.argon().get_volume()
    text = f"v: VOLUME\nRESTRAINT ARG=v KAPPA=3e4 AT={target / 1000:.15g}"
    volume = {}
    for virial in ("yes", "no"):
        with deck(text, pair=LENNARD_JONES) as lmp:
            lmp.commands_string(
                f"""
                fix_modify bias virial {virial}
                fix move all npt temp 30 30 0.1 tri 0 0 0.5
                run 2000
                variable volume equal vol
                fix mean all ave/time 1 1000 1000 v_volume
                run 1000
                """
            )
            volume[virial] = lmp.extract_fix("mean", 0, 0)
    assert volume["yes"] == pytest.approx(target, rel=3e-3)
    assert abs(volume["no"] / target - 1) > 2e-2  # the barostat did not see the bias


# ---- hills ---------------------------------------------------------------------------------------


def test_second_run_doubles_nothing(deck: Deck, tmp_path: Path) -> None:
    """One run, two runs that meet on a hill, and two runs with their steps renamed between."""
    decks = {
        "one": "run 60",
        "two": "run 30\nrun 30",
        "renamed": "run 30\nreset_timestep 100\nrun 30",
    }
    hills, colvar = {}, {}
    for name, commands in decks.items():
        with deck(METAD, pair=LENNARD_JONES) as lmp:
            lmp.commands_string(f"fix move all nve\n{commands}")
        hills[name], colvar[name] = table(tmp_path / "HILLS"), table(tmp_path / "COLVAR")
        for file in ("HILLS", "COLVAR"):
            (tmp_path / file).unlink()
    assert list(hills["one"][:, 0]) == pytest.approx(list(np.arange(10, 61, 10) * 0.002))
    np.testing.assert_allclose(hills["two"], hills["one"], rtol=1e-9)
    np.testing.assert_allclose(colvar["two"], colvar["one"], rtol=1e-9, atol=1e-12)
    assert list(hills["renamed"][:, 0]) == pytest.approx(
        [0.02, 0.04, 0.06, 0.22, 0.24, 0.26]  # steps 10 20 30, then 110 120 130
    )
    np.testing.assert_allclose(hills["renamed"][:, 1], hills["one"][:, 1], rtol=1e-9)


@pytest.mark.parametrize("earlier", ["in the same file", "in a file of their own"])
def test_restarted_equals_uninterrupted(
    earlier: str, deck: Deck, plugin_path: Path, tmp_path: Path
) -> None:
    """Hill for hill, the step counter going on."""
    with deck(METAD, pair=LENNARD_JONES) as lmp:
        lmp.commands_string("fix move all nve\nrun 120")
        expected = frame(lmp)
    whole = table(tmp_path / "HILLS")
    (tmp_path / "HILLS").unlink()
    (tmp_path / "COLVAR").unlink()
    with deck(METAD, pair=LENNARD_JONES) as lmp:
        lmp.commands_string(f'fix move all nve\nrun 50\nwrite_restart "{tmp_path}/half"')
    words = "RESTART=YES"
    if earlier == "in a file of their own":  # a walker that lays no hills
        words += " WALKERS_N=2 WALKERS_ID=1 WALKERS_RSTRIDE=1000000000"
        lines = (tmp_path / "HILLS").read_text().splitlines(keepends=True)
        (tmp_path / "HILLS.1").write_text("".join(one for one in lines if one.startswith("#")))
        (tmp_path / "HILLS").rename(tmp_path / "HILLS.0")
    restarted = METAD.replace("PRINT", "PRINT RESTART=YES").replace("PACE", f"{words} PACE")
    with engine.lammps(plugin_path, tmp_path / "log") as lmp:
        lmp.commands_string(f'read_restart "{tmp_path}/half"\n{LENNARD_JONES}\ntimestep 0.002')
        lmp.commands_string(f"{fix_plumed(tmp_path, restarted)}\nfix move all nve\nrun 70")
        found = frame(lmp)
    files = sorted(tmp_path.glob("HILLS*"))
    pieces = np.concatenate([table(path)[:, :5] for path in files])
    assert len(whole) == 12
    assert [len(table(path)) for path in files] in ([12], [5, 7])
    np.testing.assert_allclose(pieces, whole, rtol=1e-7)
    moved = (found.positions - expected.positions) @ np.linalg.inv(engine.TILTED)
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-8)


def test_minimization_feels_the_bias(deck: Deck, tmp_path: Path) -> None:
    text = "d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=d KAPPA=5000 AT=0.6\nPRINT ARG=d FILE=COLVAR"
    with deck(text, pair=LENNARD_JONES) as lmp:
        lmp.command("minimize 0 1e-6 300 300")
    assert table(tmp_path / "COLVAR")[-1, 1] == pytest.approx(0.6, abs=0.01)


def test_two_partitions(
    plugin_path: Path,
    plumed_kernel: str,
    compiled: Callable[[models.ModelSpec, str], Path],
    tmp_path: Path,
) -> None:
    """Two walkers of one launch, each with its own PLUMED file and the NequIP model."""
    spec = models.ModelSpec(("H", "C", "O"))
    atoms = models.example(spec.type_names, [[8.6, 0, 0], [4.2, 8.1, 0], [-4.1, 3.9, 7.7]])
    engine.write_data(tmp_path / "x.data", atoms, spec.type_names)
    for walker, target in enumerate((0.25, 0.45)):
        (tmp_path / f"plumed.{walker}").write_text(
            f"d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=d KAPPA=500 AT={target}\n"
            f"PRINT ARG=d FILE=COLVAR.{walker} FMT=%.12g\n"
        )
    deck = f"""
        variable w world 0 1
        units metal
        read_data x.data
        {engine.pair_text(compiled(spec, "torchscript"), spec.type_names)}
        timestep 0.0005
        fix bias all plumed plumedfile plumed.$w outfile plumed.$w.log
        fix move all nve
        thermo_style custom step pe f_bias
        run 20
        """
    done = engine.run_program(plugin_path, tmp_path, deck, "-partition", "2x1", ranks=2)
    assert done.returncode == 0, done.stdout + done.stderr
    colvars = [table(tmp_path / f"COLVAR.{w}") for w in (0, 1)]
    assert [len(c) for c in colvars] == [21, 21]
    assert colvars[0][0, 1] == pytest.approx(colvars[1][0, 1], rel=1e-9)
    assert abs(colvars[0][-1, 1] - colvars[1][-1, 1]) > 1e-5
    for w in (0, 1):
        assert "PLUMED is starting" in (tmp_path / f"plumed.{w}.log").read_text()


KERNEL = """
// A PLUMED with MPI that does nothing, and the communicators that are made and not freed.
#include <mpi.h>
#include <cstdio>
#include <cstring>
static int alive = 0, groups = 0;
extern "C" {
void *plumed_plumedmain_create() { return &alive; }
void plumed_plumedmain_finalize(void *) {}
void plumed_plumedmain_cmd(void *, const char *key, const void *value) {
  if (!std::strcmp(key, "getApiVersion")) *static_cast<int *>(const_cast<void *>(value)) = 10;
  if (!std::strcmp(key, "GREX setMPIIntercomm")) {
    int size = 0, rank = 0;
    MPI_Comm_size(*static_cast<const MPI_Comm *>(value), &size);
    MPI_Comm_rank(*static_cast<const MPI_Comm *>(value), &rank);  // as PLUMED does
    groups += size;
  }
}
int MPI_Comm_split(MPI_Comm whole, int part, int order, MPI_Comm *made) {
  ++alive;
  return PMPI_Comm_split(whole, part, order, made);
}
int MPI_Comm_free(MPI_Comm *comm) {
  --alive;
  return PMPI_Comm_free(comm);
}
int MPI_Finalize() {
  std::fprintf(stderr, "walkers %d alive %d\\n", groups, alive);
  return PMPI_Finalize();
}
}
"""


def with_mpi(engines: Engines, folder: Path) -> Path:
    """This PLUMED, compiled."""
    (folder / "kernel.cpp").write_text(KERNEL)
    kernel, mpi = folder / "libkernel.so", engine.mpi_library()
    flags = ["-shared", "-fPIC", f"-I{engines.mpi_include}", "-DMPICH_SKIP_MPICXX"]
    argv = ["g++", *flags, str(folder / "kernel.cpp"), str(mpi), "-o", str(kernel)]
    subprocess.run(argv, check=True)
    return kernel


def test_its_communicator_is_freed(
    engines: Engines, plugin_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fix takes one of a few thousand that MPI has."""
    kernel = with_mpi(engines, tmp_path)
    monkeypatch.setenv("PLUMED_KERNEL", str(kernel))
    engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))
    bias = "fix bias all plumed outfile p.log\nrun 1\nunfix bias\n"
    seen = []
    for text in ("", bias, bias * 3):
        deck = f"units metal\nread_data argon.data\n{NOTHING}\n{text}"
        env = {"LD_PRELOAD": str(kernel)}
        done = engine.run_program(
            plugin_path, tmp_path, deck, "-partition", "2x1", ranks=2, env=env
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen.append(sorted(re.findall(r"walkers (\d+) alive (-?\d+)", done.stderr)))
    (nothing, _), once, thrice = seen
    assert nothing[0] == "0"
    assert once == [("2", nothing[1])] * 2
    assert thrice == [("6", nothing[1])] * 2


@pytest.mark.parametrize(("arguments", "replicas"), [((), "0"), (("-partition", "1x1"), "1")])
def test_without_partitions_a_plumed_with_mpi_has_no_replicas(
    engines: Engines,
    plugin_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arguments: tuple[str, ...],
    replicas: str,
) -> None:
    """It adds the number of the replica to the names of files, also of the only one."""
    kernel = with_mpi(engines, tmp_path)
    assert Plumed(kernel, "hand").has_mpi
    assert engines.plumed is not None
    assert not engines.plumed.has_mpi  # the wheel's
    monkeypatch.setenv("PLUMED_KERNEL", str(kernel))
    engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))
    deck = (
        f"units metal\nread_data argon.data\n{NOTHING}\nfix bias all plumed outfile p.log\nrun 1\n"
    )
    env = {"LD_PRELOAD": str(kernel)}
    done = engine.run_program(plugin_path, tmp_path, deck, *arguments, ranks=1, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"walkers (\d+) alive", done.stderr) == [replicas]


THERMOSTATS = {
    "langevin": "fix move all nve\nfix t all langevin 60 60 {damp} 8",
    "csvr": "fix move all nve\nfix t all temp/csvr 60 60 {damp} 8",
    "nose-hoover": "fix move all npt temp 60 60 {damp} tri 0 0 {slow}",
}


@pytest.mark.parametrize("units", ["metal", "real"])
@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_plumed_is_told_the_thermostats_temperature(
    units: str, thermostat: str, deck: Deck, tmp_path: Path
) -> None:
    """Well-tempered hills without TEMP are those with it, also in the text's own units."""
    scale = 1000 if units == "real" else 1
    commands = THERMOSTATS[thermostat].format(damp=0.1 * scale, slow=scale)
    heights = []
    for temp in ("", " TEMP=60"):
        text = (
            "UNITS ENERGY=kcal/mol\nd: DISTANCE ATOMS=1,2\n"
            f"METAD ARG=d PACE=5 HEIGHT=0.5 SIGMA=0.1 BIASFACTOR=4{temp} FILE=HILLS"
        )
        with deck(text, pair=LENNARD_JONES, units=units) as lmp:
            lmp.commands_string(f"{commands}\nrun 15")
        heights.append(table(tmp_path / "HILLS")[:, 3])
        (tmp_path / "HILLS").unlink()
    assert heights[0][-1] < 0.9 * heights[0][0]
    np.testing.assert_allclose(heights[0], heights[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ("fix move all nve", "TEMP"),
        ("fix a all langevin 60 60 1 8\nfix b all temp/csvr 70 70 1 8\nfix move all nve", "TEMP"),
    ],
)
def test_no_one_temperature(commands: str, words: str, deck: Deck) -> None:
    text = "d: DISTANCE ATOMS=1,2\nMETAD ARG=d PACE=5 HEIGHT=1 SIGMA=0.1 BIASFACTOR=4 FILE=HILLS"
    with pytest.raises(Exception, match=words), deck(text) as lmp:
        lmp.commands_string(f"{commands}\nrun 5")


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "commands", "words"),
    [
        ("d: DISTANS ATOMS=1,2", "run 0", "PLUMED failed.*DISTANS"),
        ("d: DISTANCE ATOMS=1,99", "run 0", "PLUMED failed.*99"),
        (METAD.replace("PACE", "RESTART=YES PACE"), "run 0", "PLUMED failed.*HILLS"),
        (METAD, "timestep 0.001\nrun 0", "PLUMED cannot change to 0.001"),
        (METAD, "fix two all plumed", "only one fix plumed is allowed; fix bias"),
        (
            METAD,
            "group g id 1\ndelete_atoms group g compress no\nrun 0",
            "IDs from 1|now there are",
        ),
        (METAD, "run_style respa 2 2\nfix move all nve\nrun 0", "run_style verlet"),
        (METAD, "unfix bias\nfix b all plumed plumedfile none.dat", "none.dat does not exist"),
        (METAD, "unfix bias\nfix b all plumed plumdfile x", "unknown keyword plumdfile"),
        (METAD, "unfix bias\nfix b all plumed plumedfile", "plumedfile has no value"),
        (
            METAD,
            "unfix bias\nfix p all npt temp 9 9 1 iso 0 0 1\nfix b all plumed",
            "must be defined before fix p",
        ),
    ],
)
def test_bad_input(text: str, commands: str, words: str, deck: Deck) -> None:
    with pytest.raises(Exception, match=words) as caught, deck(text) as lmp:
        lmp.commands_string(commands)
    assert str(caught.value).split("\n")[0].startswith("ERROR")


def test_its_computes_may_be_removed(deck: Deck, tmp_path: Path) -> None:
    """The fix finds that out when it needs them, and not by what is left in memory."""
    with deck(METAD) as lmp:
        lmp.command("run 0")
        lmp.command("uncompute bias_plumed_pe")
        with pytest.raises(Exception, match="its compute bias_plumed_pe was deleted"):
            lmp.command("run 0")
        lmp.command("unfix bias")
        lmp.command("run 0")


def test_group_is_ignored_with_a_warning(deck: Deck, tmp_path: Path) -> None:
    with deck(METAD) as lmp:
        lmp.commands_string("unfix bias\ngroup few id 1 2\nfix bias few plumed\nrun 0")
    assert "ignores its group" in (tmp_path / "log.lammps").read_text()


def test_no_kernel(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PLUMED_KERNEL", "/nowhere/libplumedKernel.so")
    with pytest.raises(Exception, match=r"cannot load the PLUMED kernel /nowhere"), deck(METAD):
        pass
