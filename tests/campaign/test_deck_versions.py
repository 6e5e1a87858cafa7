"""Who sampled with an older deck is told what was wrong with it, and only what was."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from helpers.outputs import whole
from phasewalk.campaign import deck_versions
from phasewalk.campaign.tasks import Work
from phasewalk.production import freeze
from phasewalk.status import history, verdict
from phasewalk.store import directory
from phasewalk.store.records import Record
from phasewalk.walkers.decks import DECK
from phasewalk.walkers.segment import Ensemble, SystemSettings, Thermostat

OLD = Path(__file__).parents[1] / "data" / "mil53_al.run"


def system(ensemble: Ensemble = "npt", thermostat: Thermostat = "langevin") -> SystemSettings:
    return SystemSettings(structure="a.xyz", ensemble=ensemble, thermostat=thermostat)


def segment(round_: int, deck: int | None) -> Record:
    outputs = {"walkers": []} if deck is None else {"walkers": [], "deck": deck}
    return whole(Record(f"segment {round_}", "segment", round_, "", outputs, 1.0, 0.0))


def test_the_rounds_of_an_older_deck() -> None:
    records = [segment(n, None) for n in (1, 2, 3, 5)] + [segment(4, DECK), segment(6, DECK)]
    (line,) = deck_versions.of_rounds(records, {"a": system()})
    assert line.startswith("rounds 1–3, 5 were sampled with deck version 1: ")
    assert "used the instantaneous temperature at the start" in line
    assert "the cell was at rest at the start of each segment" in line
    assert "Langevin thermostat was too hot" in line
    assert not deck_versions.of_rounds(records[-2:], {"a": system()})
    assert not deck_versions.of_rounds([], {"a": system()})


@pytest.mark.parametrize(
    ("ensemble", "thermostat", "wrong"),
    [
        ("nvt", "csvr", []),
        ("nvt", "langevin", ["too hot"]),
        ("nvt", "nose-hoover", ["chains started"]),
        ("npt", "csvr", ["instantaneous", "at rest"]),
        ("npt", "nose-hoover", ["at rest", "chains started"]),
        ("npt", "langevin", ["instantaneous", "at rest", "too hot"]),
    ],
)
def test_only_what_was_wrong(ensemble: Ensemble, thermostat: Thermostat, wrong: list[str]) -> None:
    told = deck_versions.of_free_energy(1, system(ensemble, thermostat))
    every = ("instantaneous", "at rest", "too hot", "chains started")
    assert [word for word in every if word in told] == wrong
    assert not deck_versions.of_free_energy(DECK, system(ensemble, thermostat))


def test_an_old_campaign_opens_and_says_so(tmp_path: Path) -> None:
    root = shutil.copytree(OLD, tmp_path / "old.run")
    reasons = verdict.judge(history.read(root)).reasons
    assert any("deck version 1" in line and "rounds 1–" in line for line in reasons)


@pytest.mark.parametrize(
    ("before", "aside"),
    [({}, True), ({"deck": 1}, True), ({"deck": DECK}, False), ({"timestep_fs": 2.0}, False)],
)
def test_segments_of_two_decks_are_never_mixed(
    tmp_path: Path, before: dict[str, float], aside: bool
) -> None:
    root, now = tmp_path / "fes" / "gen-001", {"name": "a", "timestep_fs": 0.5, "deck": DECK}
    said: list[str] = []
    work = SimpleNamespace(observer=SimpleNamespace(say=said.append))
    directory.open_campaign(root, {"name": "a", "timestep_fs": 0.5, **before}).close()
    freeze._keep_apart(cast(Work, work), root, now)
    assert root.exists() != aside
    assert bool(said) == aside
    assert all("deck version 1 is kept in" in line for line in said)
