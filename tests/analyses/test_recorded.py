"""A recorded run of LAMMPS and PLUMED: what its files say agrees with each other."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phasewalk.analyses import analyse, find, frames, profiles, runs, shapes
from phasewalk.bias import bias_at
from phasewalk.units import KJ_PER_MOL_PER_EV

RECORDED = Path(__file__).parents[1] / "data/production/metad"
WALKERS = ("walker-0", "walker-1")


@pytest.mark.parametrize("walker", WALKERS)
def test_frames_and_tables_have_the_same_cells(walker: str) -> None:
    run = find(RECORDED)
    table, walk = runs.thermo(run, walker), frames.read(RECORDED / f"{walker}.dump")
    assert walk is not None
    assert walk.steps.tolist() == list(range(0, 401, 20))
    cells = table.cells()[np.isin(table.steps, walk.steps)]
    assert walk.cells == pytest.approx(shapes.steady(cells), abs=1e-8)
    volumes = np.linalg.det(table.cells())
    assert volumes == pytest.approx(table.column("vol_A3"), rel=1e-9)


@pytest.mark.parametrize("walker", WALKERS)
def test_the_bias_of_the_thermo_table_is_that_of_plumed(walker: str) -> None:
    run = find(RECORDED)
    table, (printed,) = runs.thermo(run, walker), runs.colvars(run, walker)
    both = np.isin(printed.steps, table.steps)
    assert printed.steps[both].tolist() == table.steps.tolist()
    bias = table.column("bias_eV") * KJ_PER_MOL_PER_EV
    assert bias.max() > 0.1
    assert bias == pytest.approx(printed.column("metad.bias")[both], abs=2e-6)
    assert table.column("vol_A3") / 1000.0 == pytest.approx(printed.column("vol")[both], abs=1e-6)


@pytest.mark.parametrize("walker", WALKERS)
def test_the_hills_are_those_that_acted(walker: str) -> None:
    """Its own from the step after they were deposited, and those of the other that it has read."""
    run = find(RECORDED)
    record = profiles.hills(run, "metad", run.plumed or "")
    assert {hill.step % 14 for hill in record.hills} == {0}
    assert len(record.hills) == 2 * (400 // 14)
    (printed,) = runs.colvars(run, walker)
    values, acted = printed.values[:, :1], printed.column("metad.bias")
    others = [hill for hill in record.hills if hill.walker != walker]
    # where the run was continued, at a step with a hill, this had been read already; at later
    # steps there are hills of the other walker, which was ahead, that were not recorded
    some = (acted > 0.01) & (printed.steps % 14 != 0) & (printed.steps <= 200)
    assert some.sum() > 10
    for at in np.flatnonzero(some):
        own = [h for h in record.hills if h.walker == walker and h.step < printed.steps[at]]
        possible = [
            bias_at(replace(record, hills=(*own, *others[:n])), values[[at]], action="metad")[0]
            for n in range(len(others) + 1)
        ]
        assert np.abs(np.array(possible) - acted[at]).min() < 5e-4  # six digits of the variable


def test_the_whole_is_analysed(tmp_path: Path) -> None:
    folder = shutil.copytree(RECORDED, tmp_path / "p.production")
    found = analyse(find(folder))
    assert any("free energy along vol" in remark for remark in found.remarks)
    assert {"rdf", "free-energy-vol"} <= {picture.name for picture in found.drawn}
    assert found.stiffness is None  # the bias acts on the cell
