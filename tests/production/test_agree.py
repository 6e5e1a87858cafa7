"""When the free energies of two generations agree, and when that cannot be said."""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers.outputs import whole
from phasewalk.campaign.stop_settings import FreeEnergyGoal
from phasewalk.errors import InputError, StoreError
from phasewalk.free_energies.free_energy import FreeEnergy, Variable
from phasewalk.generations import learn
from phasewalk.production import agree, freeze
from phasewalk.rounds import reopen
from phasewalk.store import directory
from phasewalk.store.records import Record
from phasewalk.where import Where, to_json

Array = NDArray[np.float64]
X = np.linspace(0.0, 1.0, 11)
WELL = 8.0 * (X - 0.5) ** 2


def free(values: Array, opinions_differ: float = 0.1) -> FreeEnergy:
    return FreeEnergy(
        variables=(Variable("v"),),
        centres=(X,),
        values=values,
        errors=np.full(values.shape, 0.2),
        from_hills=values,
        temperature_K=300.0,
        frames=(100,),
        blocks=((4, 0.2),),
        opinions_differ=opinions_differ,
    )


def compared(one: FreeEnergy, other: FreeEnergy, **more: Any) -> tuple[float | None, str]:
    goal = FreeEnergyGoal(max_difference_kJ_per_mol=2.0, **more)
    return agree._compared(goal, "generations 1 and 2", {"a": one}, {"a": other})


def test_the_largest_difference_counts_once_both_are_aligned() -> None:
    bump = np.where(np.arange(11) == 3, 1.1, 0.0)
    difference, says = compared(free(WELL), free(WELL + 5.0 + bump))
    assert difference == pytest.approx(1.0)  # 1.1 less a tenth of it, by which the means differ
    assert says == "generations 1 and 2 differ by up to 1 kJ/mol (a)"


@pytest.mark.parametrize("turned", [False, True])
def test_what_only_one_has_sampled_is_no_agreement(turned: bool) -> None:
    half = np.where(np.arange(11) < 4, WELL, math.nan)
    pair = (free(half), free(WELL)) if turned else (free(WELL), free(half))
    difference, says = compared(*pair)
    assert difference is None
    assert "only 36 % of the bins were sampled by both (min_shared: 80 %)" in says
    assert compared(*pair, min_shared=0.3)[0] == pytest.approx(0.0)


def test_nothing_in_common_is_no_agreement() -> None:
    left, right = (np.where(side, WELL, math.nan) for side in (X < 0.3, X > 0.7))
    difference, says = compared(free(left), free(right), min_shared=0.01)
    assert difference is None
    assert "only 0 %" in says


def test_a_bias_that_has_not_come_to_rest_is_no_agreement() -> None:
    difference, says = compared(free(WELL), free(WELL, opinions_differ=30.0))
    assert difference is None
    assert "histogram and hills do not agree yet" in says


def test_a_difference_that_may_be_chance_is_no_agreement() -> None:
    wide = replace(free(WELL), errors=np.full(11, 1.9))
    difference, says = compared(wide, wide)
    assert difference is None
    assert "the error of that difference, 2.7 kJ/mol, exceeds the limit" in says
    assert compared(wide, free(WELL))[0] == pytest.approx(0.0)  # 1.9 and 0.2: within 2


def test_without_an_error_there_is_no_agreement() -> None:
    few = replace(free(WELL), errors=np.full(11, math.nan), crossings=(3, 1))
    difference, says = compared(few, free(WELL))
    assert difference is None
    assert "no error yet (the walkers crossed the range 4 times (3, 1): too few" in says
    rarely = np.where(np.arange(11) < 2, math.nan, 0.2)
    assert (
        "bins were visited too rarely"
        in compared(free(WELL), replace(few, errors=rarely, crossings=()))[1]
    )


def work(records: list[Record], tmp_path: Path) -> Any:
    goal = FreeEnergyGoal(max_difference_kJ_per_mol=2.0)
    stop = SimpleNamespace(free_energy=goal)
    beats: list[int] = []
    store = SimpleNamespace(
        records=lambda: records, find=lambda name: None, root=tmp_path, beat=lambda: beats.append(1)
    )
    settings = SimpleNamespace(stop=stop)
    return SimpleNamespace(
        campaign=SimpleNamespace(settings=settings),
        store=store,
        beats=beats,
        note=lambda *a, **k: None,
    )


def deployed(name: str) -> Record:
    return whole(Record(f"deploy {name}", "deploy", 0, "", {"generation": name}, 1.0, 1e9))


GENERATION: Any = SimpleNamespace(number=4, name="4")


def test_without_an_earlier_generation_nothing_is_computed(tmp_path: Path) -> None:
    at = work([deployed("4"), deployed("final")], tmp_path)
    assert agree.compare(at, GENERATION) == (
        None, "there is no earlier generation to compare with",
    )  # fmt: skip


def test_the_latest_earlier_generation_is_taken_in_whatever_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(store: Any, name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(name=name, number=int(name))

    monkeypatch.setattr(reopen, "read_generation", read)
    monkeypatch.setattr(learn, "fit", lambda work, generation: generation)
    found = SimpleNamespace(found=free(WELL))
    monkeypatch.setattr(freeze, "freeze", lambda *a, **k: {"a": found})
    names = ["0", "10", "3", "final", "2", "4"]  # 2 was deployed again
    difference, says = agree.compare(work([deployed(n) for n in names], tmp_path), GENERATION)
    assert asked == ["3"]
    assert difference == 0.0
    assert says.startswith("generations 3 and 4")


@pytest.mark.parametrize(
    "error", [InputError("other settings"), StoreError("in use by another run")]
)
def test_what_cannot_be_computed_does_not_end_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(reopen, "read_generation", lambda store, name: GENERATION)
    monkeypatch.setattr(learn, "fit", lambda work, generation: generation)
    monkeypatch.setattr(freeze, "freeze", fail)
    at = work([deployed("3")], tmp_path)
    difference, says = agree.compare(at, GENERATION)
    assert difference is None
    assert str(error) in says
    assert at.beats  # a lock that was lost would be noticed


def test_its_cost_says_where_its_segments_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, noted = work([deployed("3")], tmp_path), []
    at.note = lambda *names, **more: noted.append(more)
    place = Where("segment", "gpu", "7", "g1", 4, 1, 1000.0, 1500.0)
    root = tmp_path / freeze.place("3", at.campaign.settings.stop.free_energy.hills)
    with closing(directory.open_campaign(root, {"name": "x"})) as opened:
        for n in (1, 2):
            record = Record(f"segment {n}", "segment", n, "", {}, 100.0, 1e9, 4, to_json(place))
            opened.append(whole(record))
    read = SimpleNamespace(name="3", number=3)
    monkeypatch.setattr(reopen, "read_generation", lambda store, name: read)
    monkeypatch.setattr(learn, "fit", lambda work, generation: generation)
    monkeypatch.setattr(freeze, "freeze", lambda *a, **k: {"a": SimpleNamespace(found=free(WELL))})
    agree.compare(at, GENERATION)
    without_queue = Where("segment", "gpu", "7", "g1", 4, 1)
    assert noted == [{"seconds": 200.0, "cores": 4, "where": without_queue}]
