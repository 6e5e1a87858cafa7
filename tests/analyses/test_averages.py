"""Averages of series whose statistical inefficiency is known."""

import math

import numpy as np
import pytest

from helpers.productions import correlated
from phasewalk.analyses.averages import MIN_INDEPENDENT, MOST, average, equilibration


@pytest.mark.parametrize(("memory", "count"), [(0.0, 4000), (0.6, 4000), (0.9, 20_000)])
def test_a_series_with_a_known_inefficiency(memory: float, count: int) -> None:
    series = 5.0 + correlated(np.random.default_rng(1), count, memory)
    found = average([series], discard=[0.0])
    inefficiency = (1.0 + memory) / (1.0 - memory)
    assert found.independent == pytest.approx(count / inefficiency, rel=0.2)
    assert found.error == pytest.approx(math.sqrt(inefficiency / count), rel=0.2)
    assert abs(found.mean - 5.0) < 3.0 * found.error


def test_the_errors_of_many_runs_are_right() -> None:
    rng = np.random.default_rng(2)
    found = [average([correlated(rng, 1500, 0.8)], discard=[0.0]) for _ in range(60)]
    pulls = np.array([one.mean / one.error for one in found])
    assert 0.8 < np.sqrt(np.mean(pulls**2)) < 1.35


@pytest.mark.parametrize(("independent", "least"), [(5, 0.7), (20, 0.85), (80, 0.88)])
def test_errors_from_few_samples(independent: int, least: float) -> None:
    """They are right, or not given: a run of five independent samples is mostly refused."""
    rng = np.random.default_rng(6)
    series = [correlated(rng, 39 * independent, 0.95) for _ in range(80)]
    found = [average([one], discard=[0.0]) for one in series]
    right = [one.too_short or abs(one.mean) < 2.0 * one.error for one in found]
    assert np.mean(right) >= least
    if independent == 80:
        assert not any(one.too_short for one in found)


def test_walkers_count_together() -> None:
    rng = np.random.default_rng(3)
    one = average([correlated(rng, 2000, 0.5)], discard=[0.0])
    four = average([correlated(rng, 2000, 0.5) for _ in range(4)], discard=[0.0] * 4)
    assert four.independent == pytest.approx(4 * one.independent, rel=0.3)


def test_walkers_that_stay_apart_are_two_samples() -> None:
    rng = np.random.default_rng(4)
    apart = [centre + 0.1 * rng.normal(size=1000) for centre in (0.0, 3.0)]
    found = average(apart, discard=[0.0, 0.0])
    assert found.too_short
    assert math.isnan(found.error)


def test_the_way_to_equilibrium_is_discarded() -> None:
    rng = np.random.default_rng(5)
    series = 5.0 + correlated(rng, 4000, 0.5) + 30.0 * np.exp(-np.arange(4000) / 100.0)
    assert 0.05 < equilibration(series) < 0.4
    found = average([series])
    assert abs(found.mean - 5.0) < 4.0 * found.error
    assert series.mean() - 5.0 > 10.0 * found.error


@pytest.mark.parametrize("count", [0, 1, 2, MIN_INDEPENDENT])
def test_few_samples_give_no_error(count: int) -> None:
    found = average([np.arange(float(count))])
    assert found.too_short
    assert math.isnan(found.error)


def test_a_drift_gives_no_error() -> None:
    found = average([np.linspace(0.0, 1.0, 1000)], discard=[0.0])
    assert found.too_short


def test_a_constant_is_exact() -> None:
    found = average([np.full(2 * MOST, 7.3)])
    assert (found.mean, found.error) == (pytest.approx(7.3), 0.0)
    assert not found.too_short
