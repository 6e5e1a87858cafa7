"""A model's free energy against its reference, where both are known: two potentials in numpy."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from phasewalk.free_energies import cells, correction
from phasewalk.free_energies.correction import Against, Answered
from phasewalk.free_energies.free_energy import FreeEnergy, Variable
from phasewalk.units import BOLTZMANN_KJ_PER_MOL_K

Array = NDArray[np.float64]
KT = BOLTZMANN_KJ_PER_MOL_K * 300.0
S = np.linspace(-1.5, 1.5, 50)
ATOMS = 38
THERMAL = KT * math.sqrt(1.5 * ATOMS)


def model(s: Array) -> Array:
    """Free energy of the model, kJ/mol."""
    found: Array = 5.0 * KT * (s**2 - 1.0) ** 2
    return found - found.min()


def free(errors: float = 0.5) -> FreeEnergy:
    values = model(S)
    return FreeEnergy(
        variables=(Variable("s"),), centres=(S,), values=values, errors=np.full(50, errors),
        from_hills=values, temperature_K=300.0, frames=(1000,) * 4, blocks=((4, errors),),
        opinions_differ=0.1,
    )  # fmt: skip


class Potentials:
    """E(s, y) of model and reference: y is a stiff coordinate that each holds elsewhere.

    Both are harmonic in y, so d is Gaussian at each s, with a standard deviation of `spread` kT,
    and the reference's free energy is the model's and `tilt` kT × s.
    """

    def __init__(self, spread: float, tilt: float) -> None:
        self.shift, self.tilt = spread, tilt * KT

    def sample(self, count: int, seed: int, walkers: int = 4) -> Answered:
        rng = np.random.default_rng(seed)
        s = rng.permutation(np.linspace(-1.45, 1.45, count))
        y = rng.normal(size=count)
        bath = rng.normal(size=count) * THERMAL  # what both say of all other atoms
        one = model(s) + 0.5 * KT * y**2 + bath
        other = model(s) + self.tilt * s + 0.5 * KT * (y - self.shift) ** 2 + bath + 123.0
        names = [f"a-{n % walkers}" for n in range(count)]
        return Answered(s[:, None], one, other, names)


def told(answered: Answered, of: FreeEnergy | None = None, **more: int) -> Against:
    of = of or free()
    over = cells.grid(of, len(answered.walkers))
    return correction.against(of, answered, over=over, atoms=ATOMS, **more)


def test_the_same_potential_needs_no_correction() -> None:
    found = told(Potentials(0.0, 0.0).sample(72, 1))
    assert found.moves == pytest.approx(0.0, abs=1e-9)
    assert found.spread == pytest.approx(0.0, abs=1e-9)
    assert found.n_eff == pytest.approx(72.0)
    assert found.corrected is not None
    assert found.corrected[0] == pytest.approx(model(S))
    assert found.changes == pytest.approx(0.0, abs=1e-9)


def test_a_small_difference_is_corrected_and_the_band_holds_the_truth() -> None:
    """Twenty independent sets of 72 frames each: the truth is within two errors."""
    pair, within, wrong = Potentials(0.8, 3.0), [], []
    true = model(S) + 3.0 * KT * S
    for seed in range(20):
        found = told(pair.sample(72, seed), free(0.01))
        assert found.corrected is not None
        values, errors = found.corrected
        lowest = int(np.nanargmin(values))
        off, known = values - (true - true[lowest]), found.free.compared & (errors > 0.0)
        within.append(np.mean(np.abs(off)[known] < 2.0 * errors[known]))
        wrong.append(off[known])
        assert 5.0 * KT < found.moves < 12.0 * KT
    assert np.mean(within) > 0.9
    assert np.std(np.concatenate(wrong)) < 1.5 * KT  # the tilt is 8.7 kT


def test_more_frames_make_the_band_narrower() -> None:
    pair, widths = Potentials(0.8, 3.0), []
    for count in (60, 1200):
        found = [told(pair.sample(count, seed), free(0.01)) for seed in range(8)]
        widths.append(np.mean([np.nanmean(one.corrected[1]) for one in found if one.corrected]))
    assert widths[1] < 0.45 * widths[0]


def test_a_scatter_beyond_two_kT_is_not_corrected() -> None:
    found = told(Potentials(6.0, 4.0).sample(72, 5))
    assert found.corrected is None
    assert found.n_eff < 4.0
    assert found.spread == pytest.approx(6.0 * KT, rel=0.2)
    assert "not converged: the model differs from the reference by" in found.verdict
    assert "kT; limit 2) from frame to frame" in found.verdict
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["corrected"] is None


def test_the_verdict_names_the_range_that_was_compared() -> None:
    """Where F is below 10 kT, and only cells with enough frames."""
    found = told(Potentials(0.5, 1.0).sample(400, 3))
    ((low, high),) = found.compared
    used, width = S[found.free.compared], S[1] - S[0]
    assert (low, high) == pytest.approx((used[0] - width / 2, used[-1] + width / 2))
    assert f"along s ({low:.5g} to {high:.5g})" in found.verdict
    assert found.as_dict()["compared"] == [[low, high]]
    few = Potentials(6.0, 1.0).sample(400, 3)
    right = told(few.some(few.values[:, 0] > 0.0))
    assert right.compared[0][0] == pytest.approx(0.0, abs=0.01)
    assert right.compared[0][1] == pytest.approx(high)
    assert "reference by" in right.verdict
    assert right.along in right.verdict
    none = told(few.some(np.arange(400) < 2))
    assert none.as_dict()["compared"] == []


def test_a_broken_walker_is_found_by_a_few_frames() -> None:
    """3 eV above the others, of which model and reference say the same: d shows nothing."""
    sampled = Potentials(0.3, 0.5).sample(24, 6)
    high = np.array([300.0 if name == "a-2" else 0.0 for name in sampled.walkers])
    broken = replace(sampled, model=sampled.model + high, reference=sampled.reference + high)
    found = told(broken)
    assert list(found.broken) == ["a-2"]
    assert found.broken["a-2"] == pytest.approx(300.0, abs=3.0 * THERMAL)
    assert found.corrected is None
    assert "walker a-2 samples another structure" in found.verdict
    assert "on the other frames, the model differs from the reference by" in found.verdict
    assert sum(cell.frames for cell in found.cells) <= 18


def test_a_broken_walker_alone_in_its_cells_is_found_too() -> None:
    sampled = Potentials(0.3, 0.5).sample(40, 7)
    names = ["a-3" if s > 0.9 else f"a-{n % 3}" for n, s in enumerate(sampled.values[:, 0])]
    high = np.array([300.0 if name == "a-3" else 0.0 for name in names])
    found = told(replace(sampled, reference=sampled.reference + high, walkers=names))
    assert list(found.broken) == ["a-3"]


def test_intact_walkers_are_no_false_alarm() -> None:
    """Also few frames of few walkers, and potentials that differ a lot."""
    for seed in range(200):
        count, walkers = (8, 24, 72)[seed % 3], (1, 2, 4)[seed // 3 % 3]
        assert not told(Potentials(5.0, 8.0).sample(count, seed, walkers)).broken


def test_frames_outside_of_the_bins_that_count_are_left_out() -> None:
    sampled = Potentials(0.5, 1.0).sample(72, 8)
    far = replace(sampled, values=sampled.values + np.where(np.arange(72) < 6, 100.0, 0.0)[:, None])
    found = told(far)
    assert found.frames == 72
    assert sum(cell.frames for cell in found.cells) == 66


def test_a_walker_that_differs_widens_the_error() -> None:
    sampled = Potentials(0.5, 0.0).sample(72, 9)
    moved = np.array([4.0 * KT if name == "a-1" else 0.0 for name in sampled.walkers])
    alike, unlike = told(sampled), told(replace(sampled, reference=sampled.reference + moved))
    assert not unlike.broken
    ratio = [b.error / a.error for a, b in zip(alike.cells, unlike.cells, strict=True)]
    wider = unlike.spread / alike.spread
    assert min(ratio) > 1.5 * wider


def test_too_few_frames_say_nothing() -> None:
    found = told(Potentials(0.5, 1.0).sample(2, 10), failed=3)
    assert found.cells == ()
    assert "unknown: 2 frames are too few" in found.verdict
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (data["frames"], data["failed"], data["moves"], data["spread"]) == (2, 3, None, None)


def test_without_an_error_of_the_model_there_is_none_of_the_correction() -> None:
    found = told(Potentials(0.5, 1.0).sample(72, 11), free(math.nan))
    assert found.corrected is not None
    assert "no error can be given yet" in found.verdict


def test_two_variables() -> None:
    axis = np.linspace(-1.0, 1.0, 10)
    values = KT * (axis[:, None] ** 2 + axis[None, :] ** 2)
    flat = FreeEnergy(
        variables=(Variable("a"), Variable("b")), centres=(axis, axis), values=values,
        errors=values * 0 + 0.1, from_hills=values, temperature_K=300.0, frames=(1000,),
        blocks=((4, 0.1),), opinions_differ=0.0,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    at = rng.uniform(-1.0, 1.0, size=(400, 2))
    bath = rng.normal(size=400) * THERMAL
    names = [f"a-{n % 4}" for n in range(400)]
    found = told(Answered(at, bath, bath + 3.0 * KT * at[:, 1], names), flat)
    assert len(found.cells) == 25
    assert found.corrected is not None
    moved = found.corrected[0] - values
    assert np.nanmean(moved[:, -1] - moved[:, 0]) == pytest.approx(4.8 * KT, rel=0.2)
    assert np.abs(np.nanmean(moved[-1] - moved[0])) < KT
