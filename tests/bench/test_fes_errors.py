"""The bench of stated errors: independent curves whose spread is known."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import fes_errors
from fes_errors import Curve

CENTRES = np.linspace(500.0, 800.0, 31)
TRUTH = 20.0 * ((CENTRES - 650.0) / 150.0) ** 2


def curves(stated: float, seed: int = 1) -> list[Curve]:
    """Ten curves that scatter by 1 kJ/mol and state another error; each with its own constant."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(10):
        values = TRUTH + random.normal(size=len(CENTRES))
        found.append(Curve(CENTRES, values - values.min(), np.full(31, stated), 20))
    return found


def inside(found: list[Curve]) -> float:
    each = [fes_errors.ratios(one, [o for o in found if o is not one]) for one in found]
    return float(np.mean(np.abs(np.concatenate(each)) <= 2.0))


def test_errors_as_large_as_the_spread_cover_it() -> None:
    # Of the difference of two bins, the lowest of which is low by chance too.
    assert inside(curves(stated=2.0)) > 0.9
    assert inside(curves(stated=0.5)) < 0.6


def test_the_mean_is_the_truth_but_for_a_constant() -> None:
    off = fes_errors.mean(curves(1.0), CENTRES) - TRUTH
    assert np.std(off) < 0.5


def test_runs_without_an_error_have_no_bins_and_a_short_curve_is_compared_where_it_is_known() -> (
    None
):
    found = curves(2.0)
    silent = Curve(CENTRES, found[0].values, np.full(31, np.nan), 3)
    assert len(fes_errors.ratios(silent, found[1:])) == 0
    short = Curve(CENTRES[5:], found[1].values[5:], found[1].errors[5:], 9)
    assert len(fes_errors.ratios(found[2], [short, *found[3:]])) == 26
    lines = fes_errors.table([silent, short, *found[2:]]).splitlines()
    assert lines[2] == "| 1 | 3 |  |  |"
    assert lines[3].startswith("| 2 | 9 | 2.0 |")
    assert "of 286 |" not in lines[2]
