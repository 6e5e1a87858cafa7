"""fix phasewalk/sentinel: what stops a walker, what it leaves, and that others run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import physics_lammps as engine
import pytest

from phasewalk.bias import dumps
from phasewalk.walkers import logs
from phasewalk.walkers.logs import Stop

pytestmark = pytest.mark.engine

RADIUS = 1.06
Deck = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(name="deck")
def _deck(plugin_path: Path, plumed_kernel: str, tmp_path: Path) -> Deck:
    """`with deck(keywords) as lmp`: argon in NVE at 60 K with the sentinel as the last fix."""
    data = engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))

    @contextmanager
    def start(keywords: str, before: str = "", temperature_K: float = 60.0) -> Iterator[Any]:
        with engine.lammps(plugin_path, tmp_path / "log.lammps") as lmp:
            engine.setup(lmp, data, "pair_style lj/cut 5.2\npair_coeff * * 0.0104 3.4")
            lmp.commands_string(
                f"timestep 0.002\nvelocity all create {temperature_K} 4711 mom yes\n{before}\n"
                f"fix nve all nve\nfix watch all phasewalk/sentinel {keywords} "
                f'good "{tmp_path}/good.dump"\n'
                f'dump all all custom 1 "{tmp_path}/all.dump" id type x y z ix iy iz vx vy vz\n'
                "dump_modify all sort id format float %.17g\nthermo 10"
            )
            yield lmp

    return start


def stopped(folder: Path) -> Stop | None:
    """What the log says."""
    return logs.read_log(folder / "log.lammps").stop


def kick(when: int, size: float = 60.0) -> str:
    """A force (eV/Å) on one atom from a step on."""
    variable = f"variable kick equal (step>={when})*{size}"
    return f"{variable}\ngroup one id 1\nfix kick one addforce 0 0 v_kick"


def test_a_quiet_walker_is_left_alone(deck: Deck, tmp_path: Path) -> None:
    limits = f"force 50 temperature 600 close 0.5 {RADIUS} volume 100 2000 tilt 1.3 walltime 600"
    with deck(limits) as lmp:
        lmp.command("run 100")
        assert lmp.extract_global("ntimestep") == 100
    assert stopped(tmp_path) is None
    assert not (tmp_path / "good.dump").exists()


def test_a_force_stops_the_run_and_the_last_good_frame_is_older(deck: Deck, tmp_path: Path) -> None:
    with deck("force 50 margin 12 ring 5 20", kick(43)) as lmp:
        lmp.command("run 100")
        assert lmp.extract_global("ntimestep") == 43
    stop = stopped(tmp_path)
    assert stop is not None
    assert (stop.reason, stop.step, stop.limit, stop.good_step) == ("force", 43, 50.0, 30)
    assert stop.value == pytest.approx(60.0, abs=0.5)
    (good,) = dumps.read_dump(tmp_path / "good.dump", ["Ar"])
    (dumped,) = (f for f in dumps.read_dump(tmp_path / "all.dump", ["Ar"]) if f.step == 30)
    assert good.step == 30
    assert np.array_equal(good.atoms.positions, dumped.atoms.positions)  # bit for bit
    assert np.array_equal(good.atoms.cell.array, dumped.atoms.cell.array)
    assert np.array_equal(good.atoms.get_velocities(), dumped.atoms.get_velocities())


def test_atoms_that_crossed_the_box_keep_their_images(deck: Deck, tmp_path: Path) -> None:
    drift = "velocity all set 20 -30 10 sum yes units box"
    with deck("force 50 margin 5 ring 5 20 temperature 1e9", f"{drift}\n{kick(900)}") as lmp:
        lmp.command("run 1000")
    (good,) = dumps.read_dump(tmp_path / "good.dump", ["Ar"])
    (dumped,) = (f for f in dumps.read_dump(tmp_path / "all.dump", ["Ar"]) if f.step == good.step)
    assert good.step == 895
    assert np.array_equal(good.atoms.positions, dumped.atoms.positions)
    assert np.ptp(good.atoms.positions, axis=0).max() < 25  # unwrapped: still one crystal
    assert np.abs(good.atoms.positions.mean(axis=0)).max() > 20  # that has left its box


@pytest.mark.parametrize(
    ("margin", "every", "good"),
    [
        (12, 5, 30),
        (30, 5, 10),
        (43, 5, 40),  # only the start is older: a younger one is better
        (60, 5, 40),
        (60, 50, 0),
    ],
)
def test_how_old_the_good_frame_is(
    deck: Deck, tmp_path: Path, margin: int, every: int, good: int
) -> None:
    with deck(f"force 50 margin {margin} ring {every} 20", kick(43)) as lmp:
        lmp.command("run 100")
    stop = stopped(tmp_path)
    assert stop is not None
    assert (stop.step, stop.good_step) == (43, good)


def test_no_good_frame_at_all(deck: Deck, tmp_path: Path) -> None:
    with deck("force 0.5 margin 30 ring 10 20", kick(0, 0.6)) as lmp:
        lmp.command("run 100")
    stop = stopped(tmp_path)
    assert stop is not None
    assert (stop.step, stop.good_step) == (1, None)
    assert not (tmp_path / "good.dump").exists()


def test_a_frame_near_a_limit_is_not_good(deck: Deck, tmp_path: Path) -> None:
    """The force creeps up to its limit: what uses more than half of it is not kept."""
    creep = "variable kick equal step*0.5\nfix kick all addforce 0 0 v_kick"  # none collides
    with deck("force 20 margin 0 ring 1 100 strict 0.5", creep) as lmp:
        lmp.command("run 100")
    stop = stopped(tmp_path)
    assert stop is not None
    assert stop.good_step is not None
    assert stop.value == pytest.approx(20.0, abs=0.5)
    assert stop.step - stop.good_step == pytest.approx(20, abs=4)  # half of the way there


@pytest.mark.parametrize("at_start", [False, True])
def test_a_pair_too_close(deck: Deck, tmp_path: Path, at_start: bool) -> None:
    closest = engine.argon().get_all_distances(mic=True)[np.triu_indices(32, 1)].min() / (
        2 * RADIUS
    )
    fraction = closest + 0.01 if at_start else closest - 0.05
    push = "group one id 1\nvelocity one set 25 0 0 units box"
    with deck(f"close {fraction} {RADIUS} margin 0 ring 1 50", "" if at_start else push) as lmp:
        lmp.command("run 500")
    stop = stopped(tmp_path)
    assert stop is not None
    assert stop.reason == "close"
    assert stop.value < fraction
    assert (stop.step <= 1) == at_start
    if at_start:
        assert stop.value == pytest.approx(closest, rel=2e-2)
        return
    (last,) = (f for f in dumps.read_dump(tmp_path / "all.dump", ["Ar"]) if f.step == stop.step)
    found = last.atoms.get_all_distances(mic=True)[np.triu_indices(32, 1)].min() / (2 * RADIUS)
    assert stop.value == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize(
    ("limits", "before", "reason", "value"),
    [
        ("temperature 500", "velocity all create 600 1 mom yes", "temperature", 600.0),
        ("volume 100 1400", "fix grow all deform 1 x scale 2.0 remap x", "volume", 1400.0),
        ("volume 1000 2000", "fix grow all deform 1 x scale 0.5 remap x", "volume", 1000.0),
        ("tilt 0.5", "fix lean all deform 1 xy delta 20 remap x flip no", "tilt", 0.5),
    ],
)
def test_other_limits(
    deck: Deck, tmp_path: Path, limits: str, before: str, reason: str, value: float
) -> None:
    with deck(f"{limits} force 1e9 margin 0 ring 1 50", before) as lmp:
        lmp.command("run 1000")
        assert lmp.extract_global("ntimestep") < 1000
    stop = stopped(tmp_path)
    assert stop is not None
    assert stop.reason == reason
    assert stop.value == pytest.approx(value, rel=0.05)


def test_time_runs_out_without_harm_to_the_last_frame(deck: Deck, tmp_path: Path) -> None:
    with deck("walltime 0.5 force 50 margin 0 ring 1 10") as lmp:
        lmp.command("run 100000000")
    stop = stopped(tmp_path)
    assert stop is not None
    assert (stop.reason, stop.limit) == ("walltime", 0.5)
    assert 0.5 < stop.value < 5.0


def test_what_is_not_a_number_stops_the_run(deck: Deck, tmp_path: Path) -> None:
    """Without any limit given."""
    with deck("margin 5 ring 5 20") as lmp:
        lmp.command("run 22")
        lmp.numpy.extract_atom("v")[3] = np.nan
        lmp.command("run 100 pre no")
    stop = stopped(tmp_path)
    assert stop is not None
    assert (stop.reason, stop.step, stop.good_step) == ("nan", 23, 15)
    assert np.isnan(stop.value)


def test_a_leap_is_foreseen(deck: Deck, tmp_path: Path) -> None:
    """In the step after, LAMMPS would have lost the atom, which is an error."""
    with deck("move 0.5 margin 5 ring 5 20", kick(20, 1e6)) as lmp:
        lmp.command("run 100")
    stop = stopped(tmp_path)
    assert stop is not None
    assert (stop.reason, stop.step, stop.good_step) == ("move", 20, 15)


def test_plumed_that_throws_stops_its_walker_softly(deck: Deck, tmp_path: Path) -> None:
    """A hill that leaves its grid is an exception in PLUMED, and was the end of all partitions."""
    text = (
        "v: VOLUME\nm: METAD ARG=v PACE=10 HEIGHT=0.2 SIGMA=0.01 GRID_MIN=1.0 GRID_MAX=1.3 "
        f"GRID_BIN=100 FILE={tmp_path}/HILLS\n"
    )
    (tmp_path / "plumed.dat").write_text(text)
    bias = (
        f'fix bias all plumed plumedfile "{tmp_path}/plumed.dat" outfile "{tmp_path}/p.log"\n'
        "fix grow all deform 1 x scale 2.0 remap x"
    )
    with deck("force 50 margin 5 ring 5 50", bias) as lmp:
        lmp.command("run 1000")
        assert 0 < lmp.extract_global("ntimestep") < 1000
    stop = stopped(tmp_path)
    assert stop is not None
    assert stop.reason == "plumed"
    assert "grid" in stop.says
    assert stop.good_step is not None


@pytest.mark.parametrize("command", ["minimize 0 1e-6 10 10", "unfix watch\nrun 10"])
def test_what_no_sentinel_can_stop_is_an_error(deck: Deck, tmp_path: Path, command: str) -> None:
    """A minimization would go on without the bias, and end as if nothing had been."""
    (tmp_path / "plumed.dat").write_text(
        "v: VOLUME\nm: METAD ARG=v PACE=1 HEIGHT=0.2 SIGMA=0.01 GRID_MIN=5 GRID_MAX=6 "
        f"GRID_BIN=100 FILE={tmp_path}/HILLS\n"
    )
    bias = f'fix bias all plumed plumedfile "{tmp_path}/plumed.dat" outfile "{tmp_path}/p.log"'
    with deck("force 50", bias) as lmp, pytest.raises(Exception, match="PLUMED failed"):
        lmp.commands_string(command)
    assert stopped(tmp_path) is None


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ("fly 1", "unknown keyword fly"),
        ("force", "force: missing value"),
        ("force -1", "-1 must be >= 0"),
        ("force nan", "nan"),
        ("ring 0 5", "must be an integer >= 1"),
        ("ring 2.5 5", "must be an integer >= 1"),
        ("close 0.5", "close: missing value"),
        ("good", "good: missing file name"),
    ],
)
def test_bad_keywords(plugin_path: Path, tmp_path: Path, keywords: str, says: str) -> None:
    data = engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))
    with engine.lammps(plugin_path, tmp_path / "log.lammps") as lmp:
        engine.setup(lmp, data, "pair_style lj/cut 5.2\npair_coeff * * 0.0104 3.4")
        with pytest.raises(Exception, match=says):
            lmp.command(f"fix watch all phasewalk/sentinel {keywords}")
