"""Diffusion coefficients of random walkers, and crystals that have none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.productions import correlated
from phasewalk.analyses.diffusion import diffusion, displacements, squares
from phasewalk.analyses.frames import Frames

Array = NDArray[np.float64]
SIDE, EVERY, PS = 12.0, 10, 0.001
D = 0.35
"""Å²/ps."""


def frames(positions: Array, symbols: list[str], cells: Array | None = None) -> Frames:
    count = len(positions)
    cells = np.repeat(SIDE * np.eye(3)[None], count, axis=0) if cells is None else cells
    return Frames(
        np.arange(count) * EVERY, cells, positions / SIDE, np.array(symbols)
    )  # places are in units of the mean cell


def wandering(seed: int, count: int, atoms: int) -> Array:
    """Random walks with the diffusion coefficient D."""
    rng = np.random.default_rng(seed)
    width = np.sqrt(2.0 * D * EVERY * PS)
    found: Array = np.cumsum(rng.normal(0.0, width, size=(count, atoms, 3)), axis=0)
    return found


def test_squares_are_those_of_the_definition() -> None:
    moved = wandering(1, 40, 300)
    direct = [
        np.mean(((moved[lag:] - moved[: len(moved) - lag]) ** 2).sum(axis=2)) for lag in range(40)
    ]
    assert squares(moved) == pytest.approx(np.array(direct), abs=1e-9)


@pytest.mark.parametrize("walkers", [1, 3])
@pytest.mark.parametrize("vibration", [0.0, 0.3])
def test_random_walkers(walkers: int, vibration: float) -> None:
    rng = np.random.default_rng(9)
    walks = []
    for n in range(walkers):
        still = rng.normal(0.0, 0.1, size=(2000, 60, 3))
        moving = wandering(n, 2000, 60) + vibration * rng.normal(size=still.shape)
        everything = np.concatenate([moving, still], axis=1)
        walks.append(frames(everything, ["Li"] * 60 + ["U"] * 60))
    lithium, uranium = diffusion(walks, PS)
    assert (lithium.element, lithium.against) == ("Li", "")
    assert lithium.error < 0.1 * D
    assert abs(lithium.coefficient - D) < 3.0 * lithium.error + 0.01 * D
    assert (uranium.element, uranium.against) == ("U", "the displacement does not grow")


def test_the_errors_of_many_runs_are_right() -> None:
    found = [diffusion([frames(wandering(n, 600, 30), ["Li"] * 30)], PS)[0] for n in range(40)]
    exact = D * (1.0 - 1.0 / 30.0)  # the motion of the centre of mass is subtracted
    pulls = np.array([(one.coefficient - exact) / one.error for one in found])
    assert 0.7 < np.sqrt(np.mean(pulls**2)) < 1.5
    assert np.mean([one.against == "" for one in found]) > 0.9


def test_confined_atoms_do_not_diffuse() -> None:
    rng = np.random.default_rng(5)
    everything = np.stack([correlated(rng, 2000, 0.97) for _ in range(180)], axis=1)
    found = diffusion([frames(everything.reshape(2000, 60, 3), ["Li"] * 60)], PS)
    assert found[0].against.startswith("its growth slows down")


def test_free_flight_is_not_diffusion() -> None:
    velocities = np.random.default_rng(5).normal(size=(1, 60, 3))
    everything = 0.1 * np.arange(2000)[:, None, None] * velocities
    found = diffusion([frames(everything, ["Li"] * 60)], PS)
    assert found[0].against.startswith("its growth becomes faster")


def test_a_cell_that_breathes_is_not_motion() -> None:
    """Atoms that are many cells away would seem to move with it."""
    count = 1000
    breathing = 1.0 + 0.02 * np.random.default_rng(3).normal(size=count)
    cells = SIDE * breathing[:, None, None] * np.eye(3)
    positions = wandering(4, count, 50) + 100.0 * SIDE
    (found,) = diffusion([frames(positions, ["Li"] * 50, cells)], PS)
    assert found.against == ""
    assert abs(found.coefficient - D) < 3.0 * found.error + 0.02 * D  # the centre of mass


def test_the_motion_of_the_whole_is_subtracted() -> None:
    drift = np.linspace(0.0, 50.0, 100)[:, None, None]
    moved = displacements(frames(np.zeros((100, 4, 3)) + drift, ["Li", "Li", "U", "U"]))
    assert np.abs(moved).max() < 1e-9


def test_few_frames_give_nothing() -> None:
    assert diffusion([frames(wandering(1, 19, 5), ["Li"] * 5)], PS) == []
