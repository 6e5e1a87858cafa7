"""The ledger: what labels cost, with all their tries."""

from dataclasses import replace
from typing import Any

import pytest

from phasewalk.store import ledger
from phasewalk.store.records import EARLIER, FAILED, KIND, Record


def record(stage: str, round_: int, seconds: float, cores: int = 2, **outputs: Any) -> Record:
    name = f"{stage} {round_} {seconds} {len(outputs)}"
    return Record(name, stage, round_, "", outputs, seconds, 0.0, cores)


UNCONVERGED = {"seconds": 30.0, "cores": 2, FAILED: "no", KIND: "not converged"}
RECORDS = [
    record("label", 0, 60.0),
    record("label", 0, 120.0, **{EARLIER: [UNCONVERGED, {**UNCONVERGED, KIND: "crash"}]}),
    record("label", 1, 0.0, 0, reused=True),
    record("label", 1, 600.0, **{FAILED: "too slow", KIND: "time limit"}),
    record("train", 1, 3600.0, 1),
    record("end", 1, 0.0, 0),
]


def test_all_tries_are_paid_and_counted() -> None:
    found = ledger.costs(RECORDS, "CP2K (CP2K 2023.1)")
    assert found["reference"] == "CP2K (CP2K 2023.1)"
    assert found["labels"] == {
        "done": 3,
        "reused": 1,
        "failed": 1,
        "failed_tries": {"not converged": 1, "crash": 1, "time limit": 1},
        "seconds": 840.0,
        "core_hours": pytest.approx(840 * 2 / 3600, abs=1e-5),
        "mean_seconds": 90.0,
        "longest_seconds": 120.0,
    }
    assert found["rounds"]["1"]["seconds"] == 600.0
    assert found["core_hours"] == {"label": pytest.approx(0.46667, abs=2e-5), "train": 1.0}


def test_a_line_for_people() -> None:
    line = ledger.line(ledger.costs(RECORDS, "x")["labels"])
    assert line == (
        "labels took 0.467 core-hours; 90.0 s each, the longest 120.0 s; 1 reused; "
        "failed tries: 1 crash, 1 not converged, 1 time limit"
    )
    assert ledger.line(ledger.costs([], "x")["labels"]) == ""


def test_a_meter_adds_only_what_has_come() -> None:
    records: list[Record] = []
    asked: list[int] = []

    def since(count: int) -> list[Record]:
        asked.append(count)
        return records[count:]

    meter = ledger.Meter(since)
    assert meter() == 0.0
    records.append(record("train", 1, 3600.0, 1))
    assert meter() == 1.0
    assert meter() == 1.0
    records.append(replace(record("train", 1, 7200.0, 1), task=records[0].task))  # done again
    assert meter() == 2.0
    assert asked == [0, 0, 1, 1]
