"""Variables of given frames against ASE, against formulas, and against what a walker printed."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import physics_lammps as engine
import pytest

from phasewalk import jobs
from phasewalk.bias import colvars, dumps
from phasewalk.bias.colvars import Values
from phasewalk.engines.discovery import Engines
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import EngineFailed

pytestmark = pytest.mark.engine

LENNARD_JONES = "pair_style lj/cut 5.2\npair_coeff * * 0.0104 3.4"
TEXT = """
UNITS LENGTH=A TIME=fs
v: VOLUME
d: DISTANCE ATOMS=1,6
t: TORSION ATOMS=3,9,14,30
b: CELL
g: COM ATOMS=1-8
h: CENTER ATOMS=1-8
o: DISTANCE ATOMS=g,h
r: CUSTOM ARG=v FUNC=x^(1/3) PERIODIC=NO
RESTRAINT ARG=v AT=1000 KAPPA=1 LABEL=w
METAD ARG=v,d SIGMA=1,1 HEIGHT=1 PACE=5
METAD ARG=t,b.cy,r,o,v SIGMA=1,1,1,1,1 HEIGHT=1 PACE=5
METAD ARG=b.* SIGMA=1,1,1,1,1,1,1,1,1 HEIGHT=1 PACE=5
PRINT ARG=*,w.bias FILE=COLVAR
"""


def compute(engines: Engines, folder: Path, text: str, frames: list[ase.Atoms]) -> Values:
    job = colvars.job("cv", text, frames=frames, directory=folder / "cv", env=engines.env)
    return colvars.read(jobs.run(LocalLauncher(1), job))


def frames() -> list[ase.Atoms]:
    """Triclinic cells, differently strained and turned in space; two elements of odd masses."""
    found = []
    rng = np.random.default_rng(5)
    for number in range(4):
        atoms = engine.argon()
        atoms.symbols[1:8] = "Ne"
        atoms.set_masses([39.9 if symbol == "Ar" else 77.0 for symbol in atoms.symbols])
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True
        )
        atoms.rotate(20.0 * number, (1, 2, 3), rotate_cell=True)
        atoms.positions += rng.uniform(-0.3, 0.3, atoms.positions.shape)
        atoms.positions[number] += atoms.cell.array[0]  # an atom of a neighbour cell
        found.append(atoms)
    return found


def test_against_ase(engines: Engines, plumed_kernel: str, tmp_path: Path) -> None:
    given = frames()
    found = compute(engines, tmp_path, TEXT, given)
    lower = [f"b.{row}{axis}" for row in "abc" for axis in "xyz"]
    assert found.names == ("v", "d", "t", "b.cy", "r", "o", *(n for n in lower if n != "b.cy"))
    column = dict(zip(found.names, found.values.T, strict=True))
    volumes = np.array([atoms.get_volume() for atoms in given])
    assert np.ptp(volumes) > 10
    assert column["v"] == pytest.approx(volumes, rel=1e-10)
    assert column["r"] == pytest.approx(np.cbrt(volumes), rel=1e-10)
    distances = [atoms.get_distance(0, 5, mic=True) for atoms in given]
    assert column["d"] == pytest.approx(distances, rel=1e-9)
    torsions = np.radians([atoms.get_dihedral(2, 8, 13, 29, mic=True) for atoms in given])
    assert np.exp(1j * column["t"]) == pytest.approx(np.exp(1j * torsions), abs=1e-9)
    for number, atoms in enumerate(given):  # a is along x, b in the xy plane
        a, b, c, alpha, _, gamma = atoms.cell.cellpar()
        ca, cg, sg = np.cos(np.radians(alpha)), np.cos(np.radians(gamma)), np.sin(np.radians(gamma))
        cb = atoms.cell.array[0] @ atoms.cell.array[2] / a / c
        assert column["b.ax"][number] == pytest.approx(a, rel=1e-10)
        assert column["b.bx"][number] == pytest.approx(b * cg, rel=1e-9, abs=1e-9)
        assert column["b.cy"][number] == pytest.approx(c * (ca - cb * cg) / sg, rel=1e-9, abs=1e-9)


def test_masses_are_those_of_the_frames(
    engines: Engines, plumed_kernel: str, tmp_path: Path
) -> None:
    """The centre of mass of atoms that lie close together, against ASE's."""
    atoms = frames()[0]
    text = (
        "UNITS LENGTH=A\ng: COM ATOMS=1,2\nd: DISTANCE ATOMS=1,g\n"
        "METAD ARG=d SIGMA=1 HEIGHT=1 PACE=5"
    )
    found = compute(engines, tmp_path, text, [atoms])
    atoms.positions[0] -= atoms.cell.array[0]
    bond = atoms.get_distance(0, 1, mic=True)
    assert found.values[0, 0] == pytest.approx(bond * 77.0 / (77.0 + 39.9), rel=1e-9)


def test_against_a_walker(
    engines: Engines, plugin_path: Path, plumed_kernel: str, tmp_path: Path
) -> None:
    """The frames of a run with a flexible cell give what PLUMED printed while it ran."""
    text = (
        "d: DISTANCE ATOMS=1,20\nv: VOLUME\nt: TORSION ATOMS=3,9,14,30\n"
        "m: METAD ARG=v,d,t SIGMA=0.01,0.05,0.2 HEIGHT=0.5 PACE=10 FILE={0}/HILLS\n"
        "PRINT ARG=v,d,t STRIDE=10 FILE={0}/COLVAR FMT=%.15g\n"
    ).replace("{0}", str(tmp_path))
    data = engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))
    (tmp_path / "plumed.dat").write_text(text)
    with engine.lammps(plugin_path, tmp_path / "log.lammps") as lmp:
        engine.setup(lmp, data, LENNARD_JONES)
        lmp.commands_string(
            f"""
            timestep 0.002
            velocity all create 60 4711
            fix bias all plumed plumedfile "{tmp_path}/plumed.dat" outfile "{tmp_path}/plumed.log"
            fix move all npt temp 60 60 0.1 tri 0 0 0.5
            dump d all custom 10 "{tmp_path}/run.dump" id type x y z
            dump_modify d sort id format float %.17g
            run 100
            """
        )
    given = ase.io.read(tmp_path / "run.dump", ":", format="lammps-dump-text")
    for atoms in given:
        atoms.set_atomic_numbers([18] * len(atoms))
    printed = dumps.read_colvar(tmp_path / "COLVAR").values[:, 1:]
    found = compute(engines, tmp_path, text, given)
    assert found.names == ("v", "d", "t")
    assert len(given) == 11
    assert np.ptp(printed, axis=0).min() > 1e-3
    np.testing.assert_allclose(found.values, printed, rtol=1e-8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("d: DISTANS ATOMS=1,2", "frame 1 of 4: .*PLUMED failed.*DISTANS"),
        ("d: DISTANCE ATOMS=1,99", "frame 1 of 4: .*PLUMED failed.*99"),
        ("v: VOLUME\nd: CUSTOM ARG=v FUNC=log(0-x) PERIODIC=NO", "PLUMED returned d = nan"),
    ],
)
def test_what_plumed_refuses(
    text: str, words: str, engines: Engines, plumed_kernel: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineFailed, match=words) as caught:
        compute(engines, tmp_path, f"{text}\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=5", frames())
    assert "\n" not in str(caught.value)
