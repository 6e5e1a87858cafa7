"""Elastic constants from fluctuations drawn for known ones."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.productions import correlated
from phasewalk.analyses.elastic import bulk_modulus, stiffness
from phasewalk.analyses.shapes import exchanges, parameters, steady

Array = NDArray[np.float64]

KT_EV, GPA = 0.025852, 1.0 / 160.21766
KELVIN, VOLUME = 300.0, 8000.0
CUBIC = np.diag([60.0, 60.0, 60.0, 15.0, 15.0, 15.0])
CUBIC[:3, :3] += 25.0 * (1.0 - np.eye(3))


def cells(rng: np.random.Generator, count: int) -> Array:
    """Cells of a harmonic cubic crystal with the stiffness CUBIC, in GPa."""
    width = np.linalg.cholesky(KT_EV / VOLUME * np.linalg.inv(CUBIC * GPA))
    strains = np.stack([correlated(rng, count, 0.5) for _ in range(6)], axis=1) @ width.T
    xx, yy, zz, yz, xz, xy = (strains * [1, 1, 1, 0.5, 0.5, 0.5]).T
    rows = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    metric = VOLUME ** (2 / 3) * (np.eye(3) + 2.0 * np.moveaxis(np.array(rows), 2, 0))
    found: Array = np.linalg.cholesky(metric)  # lower-triangular, as LAMMPS's
    return found


@pytest.mark.parametrize("modulus", [2.0, 50.0])
def test_a_known_bulk_modulus(modulus: float) -> None:
    width = math.sqrt(KT_EV * VOLUME / (modulus * GPA))
    rng = np.random.default_rng(1)
    volumes = [VOLUME + width * correlated(rng, 5000, 0.8) for _ in range(2)]
    found = bulk_modulus(volumes, KELVIN)
    assert found.error < 0.1 * modulus
    assert abs(found.mean - modulus) < 3.0 * found.error


def test_a_short_run_gives_no_error_of_the_bulk_modulus() -> None:
    found = bulk_modulus([VOLUME + correlated(np.random.default_rng(1), 200, 0.98)], KELVIN)
    assert found.too_short
    assert math.isnan(found.error)


def test_a_known_stiffness() -> None:
    found = stiffness([cells(np.random.default_rng(n), 4000) for n in range(2)], KELVIN)
    assert found.known
    pulls = ((found.constants - CUBIC) / found.errors)[np.triu_indices(6)]
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.6
    assert found.errors.max() < 5.0
    reuss = 1.0 / np.linalg.inv(found.constants)[:3, :3].sum()
    volumes = np.linalg.det(cells(np.random.default_rng(0), 4000))
    assert reuss == pytest.approx(bulk_modulus([volumes], KELVIN).mean, rel=0.1)


def test_few_samples_give_no_stiffness() -> None:
    assert not stiffness([cells(np.random.default_rng(1), 100)], KELVIN).known


def test_vectors_that_lammps_has_exchanged() -> None:
    before = cells(np.random.default_rng(1), 50)
    flip = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    after = before.copy()
    after[20:] = flip @ after[20:]
    after[40:] = flip @ after[40:]
    assert np.allclose(steady(after), before)
    assert np.array_equal(exchanges(after)[30], flip)
    assert np.array_equal(exchanges(after)[45], flip @ flip)


def test_lengths_and_angles() -> None:
    found = parameters(np.array([[[2.0, 0.0, 0.0], [-1.5, 1.5 * 3**0.5, 0.0], [0.0, 0.0, 5.0]]]))
    assert found[0] == pytest.approx([2.0, 3.0, 5.0, 90.0, 90.0, 120.0])
