"""How many walkers and labels are intact, and what status and verdict say of it."""

import io
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers.outputs import whole
from helpers.recorded import RECORDED
from phasewalk.status import intact, library, summary
from phasewalk.store import directory
from phasewalk.store.records import Record
from phasewalk.walkers import PolicySettings

LIMITS = PolicySettings().limits()
BROKEN = {"halted": "a broken bond, Al1–O2 of 3.02 Å", "stop": {"reason": "bond broken"},
          "bond_change": "a broken bond, Al1–O2 of 3.02 Å"}  # fmt: skip
FORMED = {"bond_change": "Al1 and C2 are newly bonded: 2.1 Å"}
FORCE = {"halted": "a force of 60 eV/Å", "stop": {"reason": "force"}, "bond_change": None}


def record(task: str, round_: int, **outputs: Any) -> Record:
    stage = {"walkers": "steer", "labels": "held out"}.get(task.split()[0], task.split()[0])
    return whole(Record(task, stage, round_, "x", outputs, 1.0, 0.0))


def segment(round_: int, walkers: Sequence[dict[str, Any]], **more: Any) -> Record:
    found = [
        {"walker": f"mil-{n}", "system": "mil", "bond_change": None, **one}
        for n, one in enumerate(walkers)
    ]
    return record(f"segment {round_}", round_, walkers=found, generation=round_ - 1, **more)


def begun(round_: int, *reasons: str) -> Record:
    found = [
        {"walker": f"mil-{n}", "source": "start" if reason else "good", "reason": reason}
        for n, reason in enumerate(reasons)
    ]
    return record(f"walkers of round {round_}", round_, walkers=found)


def evaluated(round_: int, *energies: float | None, **more: Any) -> Record:
    each = [
        {"walker": f"mil-{n}", "force_error_ratio": 0.3, "energy_error_meV_per_atom": energy}
        for n, energy in enumerate(energies)
    ]
    task = f"evaluate generation {round_ - 1} on round {round_}"
    return record(task, round_, each=each, **more)


def bonds(round_: int, checked: int, changed: Sequence[str]) -> Record:
    found = {"labels": 10 * (1 + round_), "checked": checked, "changed": list(changed)}
    return record(f"evaluate generation {round_} on round {round_}", round_, bonds=found)


NEW = {"guarded": ["mil"], "limits": LIMITS}
TWO = [
    bonds(0, 8, []),
    segment(1, [BROKEN, {}, FORCE], **NEW),
    evaluated(1, 3.0, -45.0, 1.0),
    bonds(1, 11, ["a", "b"]),
    record("labels of round 1 held out", 1, labels=[{"key": "b"}]),
    begun(2, "", "energy error", ""),
    segment(2, [{}, FORMED, {}], **NEW),
    evaluated(2, 3.0, 4.0, 1.0),
]


def test_counts_of_a_campaign() -> None:
    assert intact.collect(TWO) == {
        "round": 2,
        "walkers": 3,
        "walkers_checked": 3,
        "walkers_intact": 2,
        "stopped_by_bonds": 1,
        "resets": {"energy error": 1},
        "resets_last_round": 1,
        "labels_checked": 11,
        "labels_with_other_bonds": 2,
        "labels_with_other_bonds_learned": 1,
        "labels_outlying": 1,
        "labels_outlying_last_round": 0,
        "labels_held_out": 1,
    }
    lines = intact.lines(intact.collect(TWO))
    assert lines[:2] == [
        "walkers: 2 of 3 intact at the end of round 2; 1 run(s) stopped by a changed bond in all "
        "rounds; 1 reset(s) (energy error 1)",
        "labels: 2 of 11 have other bonds than the structure; 1 of outlying frames (errors above "
        "the limits of policy); 1 not used for training (policy.hold_out)",
    ]
    assert lines[2].startswith("to do: labels with other bonds are trained on")


def test_a_walker_that_was_stopped_before_this_was_recorded_is_not_intact() -> None:
    old = {"halted": BROKEN["halted"], "stop": BROKEN["stop"]}
    found = intact.collect([segment(1, [old, {}], guarded=["mil"])])
    assert (found["walkers_intact"], found["stopped_by_bonds"]) == (1, 1)
    assert found["labels_outlying"] is None


@pytest.mark.parametrize(
    ("more", "outlying"), [({}, None), ({"guarded": []}, None), ({"limits": LIMITS}, 1)]
)
def test_what_was_not_checked_is_not_counted_as_none(
    more: dict[str, Any], outlying: int | None
) -> None:
    found = intact.collect([segment(1, [{}, {}], **more), evaluated(1, 50.0)])
    assert found["walkers_intact"] is found["stopped_by_bonds"] is None
    assert found["labels_with_other_bonds"] is None
    assert found["labels_outlying"] == outlying
    assert "bonds are not checked" in intact.lines(found)[0]
    (_, rows), = intact.groups(found)  # fmt: skip
    assert dict(rows)["Runs stopped by a changed bond"] == "not checked"


def test_systems_that_are_free_beside_checked_ones() -> None:
    free = [{}, {"system": "salt"}, {"system": "salt"}]
    found = intact.collect([segment(1, free, **NEW)])
    assert (found["walkers"], found["walkers_checked"], found["walkers_intact"]) == (3, 1, 1)
    assert "1 of 1 intact at the end of round 1 (2 more are not checked)" in intact.lines(found)[0]


def test_nothing_to_do_if_all_is_well() -> None:
    found = intact.collect(
        [segment(1, [{}, FORCE], **NEW), evaluated(1, 3.0, -4.0), bonds(1, 9, [])]
    )
    assert intact.advice(found) == ""
    assert intact.remarks(found) == []
    assert len(intact.lines(found)) == 2
    assert intact.lines(intact.collect([])) == intact.groups(intact.collect([])) == []


def test_nothing_to_do_about_what_was_wrong_in_earlier_rounds_only() -> None:
    wrong = [segment(1, [{}], **NEW), evaluated(1, -25.0), begun(2, "energy error")]
    assert intact.advice(intact.collect(wrong)) != ""
    after = [segment(2, [{}], **NEW), evaluated(2, 3.0), begun(3, "")]
    assert intact.advice(intact.collect([*wrong, *after, segment(3, [{}], **NEW)])) == ""


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([segment(1, [BROKEN], **NEW)], "if bonds keep changing"),
        ([segment(1, [{}], **NEW), begun(2, "energy error")], "walkers are reset in every round"),
        ([segment(1, [{}], **NEW), evaluated(1, -25.0)], "walkers are reset in every round"),
    ],
)
def test_what_to_do(records: Sequence[Record], says: str) -> None:
    assert says in intact.advice(intact.collect(records))


def test_each_task_counts_once_after_a_resume(tmp_path: Path) -> None:
    with closing(directory.open_campaign(tmp_path / "run", {"name": "salt"})) as store:
        for one in (*TWO, *TWO):
            store.append(one)
        assert intact.collect(store.records()) == intact.collect(TWO)
        state = summary.collect(store.root)
        assert json.loads(json.dumps(state["intact"])) == state["intact"]
        console = Console(file=io.StringIO(), width=100)
        summary.show(state, console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "walkers: 2 of 3 intact at the end of round 2" in text


def test_a_campaign_of_before_says_that_nothing_was_checked() -> None:
    found = summary.collect(RECORDED)["intact"]
    assert (found["walkers"], found["walkers_checked"], found["walkers_intact"]) == (4, 0, None)
    assert intact.remarks(found) == []


def test_a_label_that_is_held_out_was_not_learned() -> None:
    labels = [record(f"label {key}", 1, key=key, origin={"walker": f"mil-{key}"}) for key in "ab"]
    held = record("labels of round 1 held out", 1, labels=[{"key": "b"}])
    assert library.learned_in(labels) == {"a": 1, "b": 1}
    assert library.learned_in([*labels, held]) == {"a": 1}
