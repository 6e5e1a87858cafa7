"""A generation's errors beside those of no forces at all, and one that has learned too little."""

from typing import Any

import numpy as np
import pytest

from helpers.fakes import label
from phasewalk.errors import TooPoor
from phasewalk.labels.label import Label
from phasewalk.models.settings import Budget, ModelSettings, Statistics
from phasewalk.validation import explained
from phasewalk.validation.explained import Explained

NUMBERS = Statistics(average_neighbors=6.0, energy_scale=0.08, energy_shifts=(-1.0, -2.0))
KCL = Explained(4, 39.0, 51.0, 62.0, 80.0)
"""Measured on KCl with the defaults: every walker of every round then broke down."""


def held_back(*sizes: float) -> list[Label]:
    """One label for each size of its forces, eV/Å."""
    rng = np.random.default_rng(2)
    return [label(forces=size * rng.normal(size=(8, 3))) for size in sizes]


def epoch(labels: list[Label], share: float) -> dict[str, Any]:
    """What a training says that leaves this share of all forces wrong."""
    zero, rms = explained.of_zero(labels)
    return {"epoch": 9, "forces_mae": share * zero / 1000, "forces_rmse": share * rms / 1000}


def judged(found: Explained | None, *, first: bool = True, **settings: Any) -> None:
    explained.check(
        "0" if first else "3",
        found,
        settings=ModelSettings(**settings),
        budget=Budget(epochs=70, learning_rate=0.02),
        numbers=NUMBERS,
        first=first,
    )


def test_no_forces_err_by_the_forces_themselves() -> None:
    labels = [label(forces=np.array([[3.0, 0, 0], [-3.0, 0, 0]] * 4))]
    assert explained.of_zero(labels) == pytest.approx((1000.0, 1000 * np.sqrt(3.0)))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
def test_what_has_learned_is_sent_walking(share: float) -> None:
    labels = held_back(0.5, 0.5)
    found = explained.explained(epoch(labels, share), labels)
    assert found is not None
    assert found.ratio == pytest.approx(share)
    judged(found)


def test_a_zero_model_and_kcl_are_not() -> None:
    labels = held_back(0.5, 0.5)
    with pytest.raises(TooPoor, match=r"zero forces is 1\.00, limit 0\.5"):
        judged(explained.explained(epoch(labels, 1.0), labels))
    with pytest.raises(TooPoor) as told:
        judged(KCL)
    line = str(told.value)
    assert "force MAE 39 meV/Å (zero forces: 62), RMSE 51 (zero forces: 80)" in line
    assert "model.max_force_error_ratio" in line
    assert "model.first.epochs (70), model.r_max_A (4 Å, with 6 neighbours" in line
    assert "bootstrap.count, bootstrap.displacement_A or bootstrap.strain" in line
    assert "\n" not in line
    judged(KCL, max_force_error_ratio=None)
    judged(KCL, max_force_error_ratio=0.7)


def test_one_frame_of_a_breakdown_does_not_decide() -> None:
    """Its huge forces, which no model gets right, rule the RMSE, but hardly the MAE."""
    labels = held_back(*[0.2] * 9, 40.0)
    zero, rms = explained.of_zero(labels)
    usual = explained.Explained(10, 0.3 * zero, 0.95 * rms, zero, rms)
    assert usual.ratio == pytest.approx(0.3)
    judged(usual)


def test_a_later_generation_must_only_be_better_than_nothing() -> None:
    judged(KCL, first=False)
    worse = Explained(4, 70.0, 90.0, 62.0, 80.0)
    with pytest.raises(
        TooPoor, match=r"generation 3 .* Increase model.warm.epochs \(70\), then run"
    ):
        judged(worse, first=False)


@pytest.mark.parametrize("forces", [None, float("nan")])
def test_errors_that_are_not_known(forces: float | None) -> None:
    """A training that diverged is the gate's to refuse."""
    labels = held_back(0.5)
    judged(explained.explained({"forces_mae": forces, "forces_rmse": forces}, labels))


def test_frames_without_forces_tell_nothing() -> None:
    assert explained.explained({"forces_mae": 0.1, "forces_rmse": 0.1}, held_back(0.0)) is None


def test_the_advice_on_zbl() -> None:
    assert explained.advice(ModelSettings()) is None
    assert "cannot be set after generation 0" in str(explained.advice(ModelSettings(zbl=False)))
