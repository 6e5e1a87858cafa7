"""Free energies of biased runs whose free energy is known, and histograms of others."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.productions import begin, correlated, write_colvar, write_thermo
from phasewalk.analyses import analyse, find, runs
from phasewalk.analyses.profiles import Profiles, profiles

Array = NDArray[np.float64]

KT = 0.00831446261815324 * 300.0
KJ_PER_EV = 96.48530749925792
UNITS = "UNITS LENGTH=A ENERGY=kj/mol TIME=fs\nd: DISTANCE ATOMS=1,2\n"
HEAD = (
    "#! FIELDS time d sigma_d height biasf\n#! SET multivariate false\n#! SET kerneltype gaussian\n"
)


def write(
    folder: Path,
    walker: int,
    *,
    values: Array,
    bias: Array,
    constants: str = "",
    every: int = 1,
) -> None:
    """Tables of a walker with a row each `every` fs; bias in kJ/mol."""
    count = len(values)
    cells = np.repeat(10.0 * np.eye(3)[None], count, axis=0)
    name = folder / f"walker-{walker}"
    write_thermo(Path(f"{name}.thermo"), cells, every=every, bias_eV=bias / KJ_PER_EV)
    times = np.arange(count) * float(every)
    write_colvar(Path(f"{name}.colvar"), {"d": values}, times, constants)


def analysed(folder: Path) -> Profiles:
    run = find(folder)
    tables = [runs.thermo(run, walker) for walker in run.walkers]
    return profiles(run, tables, [0.0] * len(tables))


def apart(found: Array, exact: Array, known: NDArray[np.bool_]) -> Array:
    """Differences of two free energies, whose constants mean nothing."""
    difference: Array = (found - exact)[known]
    return difference - difference.mean()


def test_a_restraint_is_taken_out(tmp_path: Path) -> None:
    """A harmonic F with a harmonic bias gives Gaussian samples of known width."""
    text = f"{UNITS}r: RESTRAINT ARG=d AT=2 KAPPA=30\nPRINT ARG=d,r.bias STRIDE=1"
    folder = begin(tmp_path, plumed=text, walkers=2)
    own, kappa = 20.0, 30.0
    for walker in range(2):
        rng = np.random.default_rng(walker)
        values = 2.0 + math.sqrt(KT / (own + kappa)) * correlated(rng, 8000, 0.5)
        write(folder, walker, values=values, bias=0.5 * kappa * (values - 2.0) ** 2)
    found = analysed(folder)
    assert (found.histograms, found.remarks) == ((), ())
    (free,) = found.free
    assert not np.isfinite(free.from_hills).any()
    exact = 0.5 * own * (free.centres[0] - 2.0) ** 2
    known = (free.errors > 0.0) & (exact < 3.0)  # none of the lowest bin, by definition
    pulls = apart(free.values, exact, known) / free.errors[known]
    assert known.sum() > 10
    assert np.mean(np.abs(pulls) < 2.0) > 0.9
    assert np.median(free.errors[known]) < 0.5


def test_metadynamics_of_two_walkers_that_share_hills(tmp_path: Path) -> None:
    pace, sigma, height, steps = 40, 0.15, 0.2, 24_000
    text = f"{UNITS}m: METAD ARG=d SIGMA={sigma} HEIGHT={height} PACE={pace}\nPRINT ARG=d STRIDE=4"
    folder = begin(tmp_path, plumed=text, walkers=2)
    barrier = 8.0  # F = barrier (x² - 1)²
    rng = np.random.default_rng(1)
    where, centres = np.array([-1.0, 1.0]), np.zeros(0)
    hills: list[list[str]] = [[], []]
    seen, biases = [], []
    move = 0.002
    for step in range(steps + 1):
        apart_ = where[:, None] - centres[None, :]
        heights = height * np.exp(-0.5 * (apart_ / sigma) ** 2) * (np.abs(apart_) < 3.5 * sigma)
        seen.append(where.copy())
        biases.append(heights.sum(axis=1))
        push = -4.0 * barrier * where * (where**2 - 1.0)
        push += (heights * apart_).sum(axis=1) / sigma**2
        if step % pace == 0 and step:
            centres = np.concatenate([centres, where])
            for n in range(2):
                hills[n].append(f"{step} {where[n]:.12f} {sigma} {height} -1\n")
        where = where + move * push / KT + math.sqrt(2.0 * move) * rng.normal(size=2)
    for n in range(2):
        part = slice(None, None, 4)
        values, bias = np.array(seen)[part, n], np.array(biases)[part, n]
        write(folder, n, values=values, bias=bias, every=4)
        (folder / f"m.hills.{n}").write_text(HEAD + "".join(hills[n]) + "24040 0.5 0.1")  # cut
    (free,) = analysed(folder).free
    exact = barrier * (free.centres[0] ** 2 - 1.0) ** 2
    known = np.isfinite(free.values) & (exact < 9.0)
    assert known.sum() > 15
    assert np.abs(apart(free.values, exact, known)).max() < 1.5
    assert np.abs(apart(free.from_hills, exact, known)).max() < 3.0
    assert free.agree
    assert sum(free.crossings) > 8
    assert np.isfinite(free.errors[known]).mean() > 0.9


def test_without_a_bias_there_is_a_histogram(tmp_path: Path) -> None:
    folder = begin(tmp_path, plumed=f"{UNITS}PRINT ARG=d STRIDE=1")
    values = 2.0 + 0.3 * correlated(np.random.default_rng(1), 10_000, 0.5)
    write(folder, 0, values=values, bias=np.zeros(10_000))
    found = analysed(folder)
    assert (found.free, found.remarks) == ((), ())
    (one,) = found.histograms
    assert not one.periodic
    assert abs(one.average.mean - 2.0) < 3.0 * one.average.error
    exact = np.exp(-0.5 * ((one.centres - 2.0) / 0.3) ** 2) / (0.3 * math.sqrt(2.0 * math.pi))
    high = exact > 0.1
    pulls = (one.density - exact)[high] / one.errors[high]
    assert 0.4 < np.sqrt(np.mean(pulls**2)) < 1.6


def test_a_periodic_variable_has_no_mean(tmp_path: Path) -> None:
    folder = begin(tmp_path, plumed="d: TORSION ATOMS=1,2,3,4\nPRINT ARG=d STRIDE=1")
    values = np.random.default_rng(1).uniform(-math.pi, math.pi, 1000)
    write(
        folder,
        0,
        values=values,
        bias=np.zeros(1000),
        constants="#! SET min_d -pi\n#! SET max_d pi\n",
    )
    (one,) = analysed(folder).histograms
    assert one.periodic
    assert one.density.sum() * (one.centres[1] - one.centres[0]) == pytest.approx(1.0)
    assert not [row for row in analyse(find(folder)).rows if row.quantity.startswith("d")]


def test_variables_that_were_not_printed_with_the_bias(tmp_path: Path) -> None:
    text = f"{UNITS}e: DISTANCE ATOMS=1,3\nr: RESTRAINT ARG=d AT=2 KAPPA=30\nPRINT ARG=d STRIDE=1"
    folder = begin(tmp_path, plumed=text)
    values = 2.0 + correlated(np.random.default_rng(1), 100, 0.5)
    write(folder, 0, values=values, bias=values**2)
    write_colvar(folder / "walker-0.colvar", {"d": values}, np.arange(100) + 1000.0)
    (remark,) = analysed(folder).remarks
    assert remark.startswith("no free energy along d: there is no frame")
    (folder / "walker-0.colvar").write_bytes(b"")
    assert analysed(folder).remarks == ("PLUMED has printed no variable yet",)


@pytest.mark.parametrize("opes", ["OPES_METAD", "OPES_METAD_EXPLORE"])
def test_opes_is_reweighted_with_its_bias(tmp_path: Path, opes: str) -> None:
    """A bias that has become constant makes a periodic variable uniform."""
    text = (
        f"UNITS TIME=fs\nd: TORSION ATOMS=1,2,3,4\no: {opes} ARG=d SIGMA=0.1 PACE=10 BARRIER=20\n"
        "PRINT ARG=d,o.bias STRIDE=1"
    )
    folder = begin(tmp_path, plumed=text)
    values = np.random.default_rng(1).uniform(-math.pi, math.pi, 20_000)
    bias = -6.0 * (1.0 - np.cos(values))
    write(folder, 0, values=values, bias=bias, constants="#! SET min_d -pi\n#! SET max_d pi\n")
    (free,) = analysed(folder).free
    assert free.variables[0].period == pytest.approx(2.0 * math.pi)
    exact = 6.0 * (1.0 - np.cos(free.centres[0]))
    assert np.abs(apart(free.values, exact, np.isfinite(free.values))).max() < 0.5
