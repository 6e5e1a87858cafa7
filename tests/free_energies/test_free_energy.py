"""Free energies of known potentials, from real metadynamics in numpy."""

import dataclasses
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phasewalk.errors import InputError, NothingLeft
from phasewalk.free_energies import free_energy, reweight
from phasewalk.free_energies.free_energy import FreeEnergy, Variable
from phasewalk.free_energies.reweight import Walk
from phasewalk.units import BOLTZMANN_KJ_PER_MOL_K

Array = NDArray[np.float64]
KT = BOLTZMANN_KJ_PER_MOL_K * 300.0
POINTS = 400


def well(s: Array) -> Array:
    """A double well, kJ/mol: a barrier of 6 kT, the right side higher by about 1.6 kT."""
    found: Array = 6.0 * KT * (s**2 - 1.0) ** 2 + 0.8 * KT * s
    return found


def barrier(s: Array) -> Array:
    """The same with a barrier of 10 kT."""
    found: Array = 10.0 * KT * (s**2 - 1.0) ** 2 + 0.8 * KT * s
    return found


def rotor(s: Array) -> Array:
    """A potential with a period of 2 π, kJ/mol."""
    found: Array = 3.0 * KT * np.cos(2.0 * s) + KT * np.sin(s)
    return found


class Walkers:
    """Metropolis walkers, one for each of many runs × walkers, under shared growing hills."""

    def __init__(self, potential: object, low: float, high: float, *, periodic: bool) -> None:
        self.grid = np.linspace(low, high, POINTS, endpoint=not periodic)
        self.step = self.grid[1] - self.grid[0]
        self.low, self.period = low, high - low if periodic else math.inf
        self.potential = potential(self.grid)  # type: ignore[operator]

    def place(self, s: Array) -> NDArray[np.intp]:
        return np.rint((s - self.low) / self.step).astype(int) % POINTS

    def run(
        self,
        *,
        runs: int,
        walkers: int,
        moves: int,
        tempered: float | None,
        seed: int,
        height: float = 0.05,
    ) -> tuple[Array, Array, Array]:
        """(moves / 10, runs, walkers) values, bias felt less c(t); (runs, POINTS) the last bias."""
        rng = np.random.default_rng(seed)
        bias = np.zeros((runs, POINTS))
        row = np.arange(runs)[:, None]
        place = self.place(rng.choice([-1.0, 1.0], (runs, walkers)))
        kept, felt = [], []
        for move in range(moves):
            to = place + np.rint(rng.normal(0.0, 0.12 / self.step, place.shape)).astype(int)
            inside = (to >= 0) & (to < POINTS)
            if math.isfinite(self.period):
                to, inside = to % POINTS, np.ones_like(inside)
            to = np.clip(to, 0, POINTS - 1)
            rise = (self.potential + bias)[row, to] - (self.potential + bias)[row, place]
            place = np.where(inside & (rng.random(place.shape) < np.exp(-rise / KT)), to, place)
            if move % 10 == 0:
                kept.append(self.grid[place])
                grown = reweight.offset(bias, kT=KT, biasfactor=tempered)
                felt.append(bias[row, place] - grown[:, None])
            if move % 50 == 0:
                for walker in range(walkers):
                    at = place[:, walker]
                    hill = np.full(runs, height * KT)
                    if tempered is not None:
                        hill = 0.4 * KT * np.exp(-bias[row[:, 0], at] / (KT * (tempered - 1.0)))
                    apart = self.grid[None, :] - self.grid[at][:, None]
                    if math.isfinite(self.period):
                        apart -= self.period * np.rint(apart / self.period)
                    bias += hill[:, None] * np.exp(-0.5 * (apart / 0.15) ** 2)
        return np.array(kept), np.array(felt), bias

    def free(self, values: Array, felt: Array, bias: Array, tempered: float | None) -> FreeEnergy:
        """The free energy of one run: (frames, walkers) values and bias felt, (POINTS,) bias."""
        variables = [Variable("s", self.period, self.low)]
        walks = [Walk(one[:, None], v) for one, v in zip(values.T, felt.T, strict=True)]
        centres = reweight.grid(walks, variables, bins=None, discard=0.2)
        at = np.interp(centres[0], self.grid, bias)
        return reweight.estimate(
            walks, variables, centres=centres, grid_bias=at, temperature_K=300.0,
            biasfactor=tempered,
        )  # fmt: skip


def off(found: FreeEnergy, potential: object) -> Array:
    """Found less true, both from the lowest bin that was found; NaN where not sampled."""
    (centres,) = found.centres
    width = centres[1] - centres[0]
    inside = centres[:, None] + width * (np.linspace(-0.5, 0.5, 21))[None, :]
    true = -KT * np.log(np.exp(-potential(inside) / KT).mean(axis=1))  # type: ignore[operator]
    lowest = int(np.nanargmin(found.values))
    wrong: Array = found.values - (true - true[lowest])
    return wrong


def in_errors(found: FreeEnergy, potential: object) -> Array:
    """Found less true, in standard errors, of the bins below 10 kT but the lowest."""
    known = found.compared & np.isfinite(found.errors) & (found.errors > 0)
    return off(found, potential)[known] / found.errors[known]


@pytest.fixture(scope="module")
def double_wells() -> list[FreeEnergy]:
    """Twenty independent runs of four walkers each, well-tempered."""
    box = Walkers(well, -1.7, 1.7, periodic=False)
    values, felt, bias = box.run(runs=20, walkers=4, moves=20_000, tempered=8.0, seed=7)
    return [box.free(values[:, i], felt[:, i], bias[i], 8.0) for i in range(20)]


def test_a_known_free_energy_is_found(double_wells: list[FreeEnergy]) -> None:
    for found in double_wells:
        wrong = off(found, well)[found.compared]
        assert np.sqrt(np.mean(wrong**2)) < 0.5 * KT
        assert found.values[found.compared].max() > 5.0 * KT  # the barrier was crossed
        assert found.opinions_differ < 0.6 * KT
        assert found.agree


def test_the_error_is_honest(double_wells: list[FreeEnergy]) -> None:
    """The truth lies within two errors in most bins of all runs, and errors are not too large."""
    ratios = np.concatenate([in_errors(found, well) for found in double_wells])
    assert np.mean(np.abs(ratios) < 2.0) > 0.9
    assert 0.6 < np.sqrt(np.mean(ratios**2)) < 1.3


def test_short_blocks_alone_would_lie(double_wells: list[FreeEnergy]) -> None:
    for found in double_wells:
        counts = [count for count, _ in found.blocks]
        assert counts == sorted(counts)
        assert counts[0] == 4
    first, last = (np.mean([f.blocks[i][1] for f in double_wells]) for i in (2, -1))
    assert last < first


def short_runs(moves: int) -> list[FreeEnergy]:
    """Independent short runs of four walkers each, over a barrier of 10 kT."""
    box = Walkers(barrier, -1.7, 1.7, periodic=False)
    values, felt, bias = box.run(
        runs=36, walkers=4, moves=moves, tempered=None, seed=moves, height=0.2
    )
    return [box.free(values[:, i], felt[:, i], bias[i], None) for i in range(36)]


def test_the_error_covers_the_spread_of_short_runs() -> None:
    """Few crossings: the truth is within two errors, though blocks alone say much less."""
    found = [one for one in short_runs(3000) if not math.isnan(one.largest_error)]
    assert len(found) >= 10
    assert all(free_energy.MIN_CROSSINGS <= sum(one.crossings) < 32 for one in found)
    assert all("few, so the error is wide" in one.crossed for one in found)
    ratios = np.concatenate([in_errors(one, barrier) for one in found])
    assert np.mean(np.abs(ratios) < 2.0) > 0.9
    wide = np.mean([np.sqrt(np.nanmean(one.errors[one.compared] ** 2)) for one in found])
    blocks = np.mean([max(error for _, error in one.blocks) for one in found])
    assert wide > 1.2 * blocks


def test_walkers_that_hardly_cross_give_no_error() -> None:
    for one in short_runs(1200):
        assert sum(one.crossings) < free_energy.MIN_CROSSINGS
        assert len(one.crossings) == 4
        assert np.isnan(one.errors).all()
        assert "too few, no error can be given yet (minimum 8)" in one.crossed
        assert json.loads(json.dumps(one.as_dict()))["crossings"] == list(one.crossings)


def test_two_short_runs_differ_by_no_more_than_is_stated() -> None:
    """Of independent runs, each against the next: also what the stop rule compares."""
    found = [one for one in short_runs(3000) if not math.isnan(one.largest_error)]
    pairs = [free_energy.difference(a, b, 8.0 * KT) for a, b in pairwise(found)]
    known = [pair for pair in pairs if not math.isnan(pair.error)]
    assert len(known) >= 8
    assert np.mean([pair.rms < 2.0 * pair.error for pair in known]) > 0.9


def test_a_large_error_lets_nothing_agree() -> None:
    (one, *_) = short_runs(1200)
    apart = dataclasses.replace(one, opinions_differ=1.1 * KT, errors=np.full(50, 9.0 * KT))
    assert not apart.agree
    assert dataclasses.replace(apart, opinions_differ=0.9 * KT).agree


@pytest.fixture(scope="module")
def rotors() -> list[FreeEnergy]:
    """Twenty independent runs of one walker each, hills of one height, a periodic variable."""
    ring = Walkers(rotor, -math.pi, math.pi, periodic=True)
    values, felt, bias = ring.run(runs=20, walkers=1, moves=40_000, tempered=None, seed=3)
    return [ring.free(values[:, i], felt[:, i], bias[i], None) for i in range(20)]


def test_a_periodic_variable_and_one_walker(rotors: list[FreeEnergy]) -> None:
    for found in rotors:
        (centres,) = found.centres
        assert np.isfinite(found.values).all()
        assert centres[0] + 2.0 * math.pi - centres[-1] == pytest.approx(centres[1] - centres[0])
        assert np.std(off(found, rotor)) < 0.6 * KT
        assert found.frames == (3200,)


def test_the_error_is_honest_for_one_walker_too(rotors: list[FreeEnergy]) -> None:
    ratios = np.concatenate([in_errors(found, rotor) for found in rotors])
    assert np.mean(np.abs(ratios) < 2.0) > 0.9


def walk(*values: float, bias: float = 0.0) -> Walk:
    return Walk(np.array(values)[:, None], np.full(len(values), bias))


def simple(
    walks: list[Walk], variable: Variable, bins: int = 4, discard: float = 0.0
) -> FreeEnergy:
    centres = reweight.grid(walks, [variable], bins=bins, discard=discard)
    return reweight.estimate(
        walks, [variable], centres=centres, grid_bias=np.zeros(bins), temperature_K=300.0,
        discard=discard,
    )  # fmt: skip


def test_frames_count_by_the_bias_that_made_them_likelier() -> None:
    walks = [walk(*[0.0] * 10), walk(*[1.0] * 10, bias=2.0 * KT)]
    found = simple(walks, Variable("s"), bins=2)
    assert found.values.tolist() == pytest.approx([2.0 * KT, 0.0])


def test_what_was_not_sampled_or_not_often_enough_is_not_known() -> None:
    found = simple([walk(0, 0, 0, 4, 4, 4, 4), walk(0.0, 0.1)], Variable("s"))
    assert np.isnan(found.values).tolist() == [False, True, True, False]
    assert np.isnan(found.errors).all()  # too few frames for blocks
    assert math.isnan(found.largest_error)
    assert found.blocks == ()
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["free_energy"][1] is None
    assert data["largest_error"] is None
    again = free_energy.from_dict(data)
    assert json.dumps(again.as_dict()) == json.dumps(found.as_dict())


def test_a_bin_that_one_block_alone_has_visited_has_no_error() -> None:
    values = [0.0, 2.0] * 40 + [1.0] + [0.0, 2.0] * 40
    found = simple([walk(*values)], Variable("s"), bins=3)
    assert np.isfinite(found.values).all()
    assert np.isnan(found.errors).tolist() == [False, True, False]


def test_passages_and_crossings_are_counted() -> None:
    still = [0.0, 0.1, 0.9, 0.2, 1.1, 0.0]
    found = simple([walk(*[0.0, 1.0, 2.0, 3.0] * 5), walk(*still)], Variable("s"))
    assert found.crossings == (9, 0)
    angle = Variable("phi", 2 * math.pi, -math.pi)
    there_and_back = [0.0, 1.0, 3.0, -3.0, -1.0, 0.0] * 3  # over the boundary: not the far end
    assert simple([walk(*there_and_back)], angle, bins=12).crossings == (6,)


def test_the_first_part_of_each_walker_is_left_out() -> None:
    found = simple([walk(9, 9, *range(8)), walk(9, 1, 2, 3, 4)], Variable("s"), discard=0.2)
    assert found.frames == (8, 4)
    assert found.centres[0].max() < 7.0


def test_nothing_to_work_with_is_said() -> None:
    with pytest.raises(NothingLeft, match="there are no frames of walkers"):
        simple([walk()], Variable("s"))
    with pytest.raises(InputError, match="one or two variables, but METAD has 3"):
        reweight.grid([walk(1.0)], [Variable(n) for n in "abc"], bins=None, discard=0.0)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"temperature_K": None}, "temperature_K is None, expected a valid number"),
        ({"variables": 3}, "variables is 3, expected a valid array"),
        ({"error": [1.0, [2.0]]}, r"error is \[1.0, \[2.0\]\], expected something else"),
        ({"from_hills": [1.0]}, "it has not one value for each bin"),
        ({"frames": ["many"]}, r"frames\[0\] is 'many', expected a valid integer"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(change: dict[str, Any], fault: str) -> None:
    data = {**simple([walk(0, 0, 0, 4, 4, 4, 4)], Variable("s")).as_dict(), **change}
    with pytest.raises(InputError, match=rf"^not a free energy \({fault}"):
        free_energy.from_dict(data)


def test_one_value_alone_is_a_bin() -> None:
    found = simple([walk(*[5.0] * 20)], Variable("s"), bins=1)
    assert found.centres[0].tolist() == [5.0]
    assert found.values.tolist() == [0.0]


def test_two_variables() -> None:
    rng = np.random.default_rng(1)
    walks = [Walk(rng.normal(size=(4000, 2)) * [1.0, 0.5], np.zeros(4000)) for _ in range(4)]
    variables = [Variable("a"), Variable("b")]
    centres = reweight.grid(walks, variables, bins=None, discard=0.0)
    found = reweight.estimate(
        walks, variables, centres=centres, grid_bias=np.zeros(625), temperature_K=300.0, discard=0.0
    )
    assert found.values.shape == (25, 25)
    a, b = np.meshgrid(*centres, indexing="ij")
    true = KT * (a**2 + (b / 0.5) ** 2) / 2.0
    low = free_energy.below(found.values, 3.0 * KT)
    wrong = (found.values - true)[low]
    assert np.std(wrong) < 0.25 * KT
    again = free_energy.from_dict(json.loads(json.dumps(found.as_dict())))
    assert free_energy.difference(found, again).largest < 1e-9


def on_grid(centres: Array, values: Array, variable: Variable) -> FreeEnergy:
    return FreeEnergy((variable,), (centres,), values, values * 0, values * 0, 300.0, (1,), (), 0.0)


def test_two_free_energies_differ_by_what_is_left_after_a_shift() -> None:
    fine, coarse = np.linspace(0, 4, 81), np.linspace(1, 5, 9)
    one = on_grid(fine, 3.0 * fine, Variable("s"))
    other = on_grid(coarse, 3.0 * coarse + 7.0, Variable("s"))
    same = free_energy.difference(one, other)
    assert same.largest == pytest.approx(0.0, abs=1e-9)
    assert same.shared == pytest.approx(61 / 81)
    tilted = on_grid(coarse, 4.0 * coarse, Variable("s"))
    apart = free_energy.difference(one, tilted)
    assert apart.largest == pytest.approx(1.5)
    assert 0.8 < apart.rms < 0.95
    assert free_energy.difference(one, tilted, 8.0).largest == pytest.approx(0.5)


def test_nothing_shared_is_no_agreement() -> None:
    one = on_grid(np.array([0.0, 1.0]), np.zeros(2), Variable("s"))
    other = on_grid(np.array([5.0, 6.0]), np.zeros(2), Variable("s"))
    apart = free_energy.difference(one, other)
    assert math.isnan(apart.largest)
    assert apart.shared == 0.0
    with pytest.raises(InputError, match=r"different variables: s and t"):
        free_energy.difference(one, on_grid(np.zeros(2), np.zeros(2), Variable("t")))


def test_over_the_end_of_a_period() -> None:
    angle = Variable("phi", 2 * math.pi, -math.pi)
    centres = -math.pi + 2 * math.pi / 50 * (np.arange(50) + 0.5)
    one = on_grid(centres, np.cos(centres), angle)
    moved = centres + math.pi / 50
    other = on_grid(moved, np.cos(moved), angle)
    assert free_energy.difference(one, other).largest < 0.01
    assert free_energy.difference(one, other).shared == 1.0
