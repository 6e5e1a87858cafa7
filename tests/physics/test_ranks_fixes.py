"""fix plumed and fix phasewalk/sentinel on several MPI ranks: everything is as on one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import physics_lammps as engine
import pytest

from phasewalk.bias import dumps
from phasewalk.walkers import logs

pytestmark = [pytest.mark.engine, pytest.mark.slow]

RADIUS = 1.06
ARGON = engine.argon()
CLOSEST = ARGON.get_all_distances(mic=True)[np.triu_indices(32, 1)].min()
PUSH = "group one id 1\nvelocity one set 25 0 0 units box"
KICK = "variable kick equal (step>=43)*60\ngroup one id 1\nfix kick one addforce 0 0 v_kick"


def walk(plugin: Path, folder: Path, ranks: int, text: str) -> str:
    """Run argon, in a folder of these ranks; the log."""
    place = folder / str(ranks)
    place.mkdir()
    for file in folder.glob("*.dat"):
        (place / file.name).write_bytes(file.read_bytes())
    engine.write_data(place / "x.data", ARGON, ("Ar",))
    deck = f"""
        units metal
        box tilt large
        read_data x.data
        pair_style lj/cut 5.2
        pair_coeff * * 0.0104 3.4
        timestep 0.002
        velocity all create 60 4711 loop all
        thermo_style custom step pe ke pxx pyy pzz pxy pxz pyz vol
        thermo_modify format float %.15g lost error
        thermo 10
        {text}
        """
    done = engine.run_program(plugin, place, deck, ranks=ranks)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return (place / "log.lammps").read_text()


def thermo(log: str) -> np.ndarray:
    lines = (line.split() for line in log.splitlines())
    rows = [w for w in lines if len(w) == 10 and w[0].isdigit()]
    return np.array(rows, dtype=float)


PLUMED = {
    "hills": """
        UNITS LENGTH=A ENERGY=eV
        d: DISTANCE ATOMS=1,6
        v: VOLUME
        m: METAD ARG=d PACE=10 HEIGHT=0.02 SIGMA=0.1 FILE=HILLS FMT=%24.15g
        RESTRAINT ARG=v KAPPA=0.001 AT=1100
        PRINT ARG=d,v,m.bias STRIDE=5 FILE=COLVAR FMT=%.12g
        """,
    "energy": """
        UNITS LENGTH=A ENERGY=eV
        e: ENERGY
        RESTRAINT ARG=e KAPPA=0.1 AT=-1
        PRINT ARG=e STRIDE=5 FILE=COLVAR FMT=%.12g
        """,
}


@pytest.mark.parametrize("text", PLUMED)
def test_plumed(text: str, plugin_path: Path, plumed_kernel: str, tmp_path: Path) -> None:
    """A PLUMED without MPI runs on the first rank: its bias, hills, forces and virial."""
    (tmp_path / "plumed.dat").write_text(PLUMED[text])
    deck = """
        fix bias all plumed plumedfile plumed.dat outfile p.log
        fix move all npt temp 60 60 0.1 tri 0 0 0.5
        thermo_style custom step pe ke pxx pyy pzz pxy pxz pyz f_bias
        thermo_modify format float %.15g lost error
        run 60
        """
    one = thermo(walk(plugin_path, tmp_path, 1, deck))
    assert np.ptp(one[:, 9]) > 1e-4  # the bias is felt
    for ranks in (2, 4):
        several = thermo(walk(plugin_path, tmp_path, ranks, deck))
        np.testing.assert_allclose(several, one, rtol=1e-7, atol=1e-6)
        for name in ("COLVAR", "HILLS"):
            found, expected = (tmp_path / str(n) / name for n in (ranks, 1))
            assert found.exists() == expected.exists()
            if expected.exists():
                np.testing.assert_allclose(
                    np.loadtxt(found), np.loadtxt(expected), rtol=1e-7, atol=1e-9
                )


@dataclasses.dataclass(frozen=True)
class Case:
    """What the sentinel watches, what happens in the run, and why it stops."""

    watch: str
    happens: str
    reason: str


CASES = {
    "force": Case("force 50", KICK, "force"),
    "temperature": Case("temperature 300", KICK, "temperature"),
    "close": Case(f"close {(CLOSEST - 0.1) / 2 / RADIUS} {RADIUS} strict 0.99", PUSH, "close"),
    "bond": Case("bonds bonds.dat 5 10", KICK, "bond broken"),
    "pair": Case("bonds pairs.dat 2 0", PUSH, "pair too close"),
    "plumed": Case("force 1000", "fix bias all plumed plumedfile plumed.dat", "plumed stop"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_sentinel(case: str, plugin_path: Path, plumed_kernel: str, tmp_path: Path) -> None:
    """The same stop at the same step, and the same last good frame."""
    bond = ARGON.get_distance(0, 1, mic=True)
    vector = ARGON.get_distance(0, 1, mic=True, vector=True)
    apart = ARGON.positions[1] - ARGON.positions[0]
    image = np.rint(np.linalg.solve(ARGON.cell.array.T, vector - apart)).astype(int)
    shift = " ".join(str(number) for number in image)
    (tmp_path / "bonds.dat").write_text(f"name 1 Ar\nbond 1 2 {shift} {bond + 1.0}\n")
    (tmp_path / "pairs.dat").write_text(f"name 1 Ar\napart 1 1 {CLOSEST - 0.1}\n")
    (tmp_path / "plumed.dat").write_text(
        "d: DISTANCE ATOMS=1,6\nc: COMMITTOR ARG=d BASIN_LL1=0 BASIN_UL1=10 STRIDE=40\n"
    )
    asked = CASES[case]
    watch = f"{asked.watch} margin 12 ring 5 20"
    deck = f"""
        {asked.happens}
        fix move all nve
        fix watch all phasewalk/sentinel {watch} good good.dump
        run 200
        """
    stops, frames = [], []
    for ranks in (1, 2, 4):
        walk(plugin_path, tmp_path, ranks, deck)
        place = tmp_path / str(ranks)
        stop = logs.read_log(place / "log.lammps").stop
        assert stop is not None
        stops.append(stop)
        frames += dumps.read_dump(place / "good.dump", ["Ar"])
    assert stops[0].reason == asked.reason
    for stop, frame in zip(stops[1:], frames[1:], strict=True):
        assert (stop.step, stop.good_step) == (stops[0].step, stops[0].good_step)
        assert stop.reason == asked.reason
        assert stop.value == pytest.approx(stops[0].value, rel=1e-6)
        assert frame.step == frames[0].step
        np.testing.assert_allclose(frame.atoms.positions, frames[0].atoms.positions, atol=1e-7)
        velocities = frames[0].atoms.get_velocities()
        np.testing.assert_allclose(frame.atoms.get_velocities(), velocities, atol=1e-7)
