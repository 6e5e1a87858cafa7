"""Costs on a site: by kind of work, by partition, for each allocation; and the expected end."""

from pathlib import Path
from typing import Any

import pytest

from phasewalk.store import ledger, site_ledger
from phasewalk.store.journal import line_of, read_journal
from phasewalk.store.records import Record
from phasewalk.store.site_ledger import Accounts
from phasewalk.where import Pool, Where, from_json, to_json

QUEUED = Where("label", "cpu", "7", "n1", 4, 0, 1000.0, 1060.0)


def record(task: str, where: Where | None = QUEUED, **changes: Any) -> Record:
    given = {"round": 0, "outputs": {}, "seconds": 900.0, "time": 2000.0, "cores": 4, **changes}
    placed = None if where is None else to_json(where)
    return Record(task, "label", inputs="", where=placed, **given)


def test_where_a_job_ran_is_in_the_journal_and_missing_in_others(tmp_path: Path) -> None:
    there, here = record("label a"), record("label b", None)
    lines, crc = b"", 0
    for one in (there, here):
        line, crc = line_of(one, crc)
        lines += line
    assert b'"where"' not in lines.splitlines()[1]  # as earlier versions write and read it
    (tmp_path / "journal.jsonl").write_bytes(lines)
    found = read_journal(tmp_path / "journal.jsonl")[0]
    assert found == {"label a": there, "label b": here}
    assert from_json(found["label a"].where or {}) == QUEUED


def test_what_is_not_known_is_left_out_and_later_keys_are_ignored() -> None:
    pool = Pool("5", 2, 8, began=1.0)
    where = Where("train", gpus=1, number="5", pool=pool)
    data = to_json(where)
    assert data == {
        "kind": "train",
        "number": "5",
        "cores": 0,
        "gpus": 1,
        "pool": {"number": "5", "nodes": 2, "cores": 8, "gpus": 0, "began": 1.0},
    }
    assert from_json({**data, "later": 1}) == where


def test_costs_by_kind_and_by_partition() -> None:
    other = Where("train", "gpu", "9", "g1", 8, 2, 3000.0, 3600.0)
    mine = [
        record("label a"),
        record("label b", Where("label", "cpu", "8", "n2", 4, 0, 1000.0, 1120.0)),
        record("label c", outputs={"failed": "no convergence"}),
        record("train generation 0", other, seconds=1800.0, cores=8),
        record("label d", None),
    ]
    accounts = Accounts().add(mine)
    assert accounts.kinds["label"].as_dict() == {
        "done": 2,
        "failed": 1,
        "lost": 0,
        "core_hours": 3.0,
        "gpu_hours": 0.0,
        "queue_mean_s": 80.0,
        "queue_longest_s": 120.0,
    }
    cpu, gpu = accounts.by_partition()
    assert (cpu["partition"], cpu["done"], cpu["core_hours"]) == ("cpu", 2, 3.0)
    assert (gpu["core_hours"], gpu["gpu_hours"], gpu["queue_mean_s"]) == (4.0, 1.0, 600.0)
    assert accounts.allocations() == []


def test_a_failed_try_counts_once_however_the_journal_is_read() -> None:
    failed = record("label a", outputs={"failed": "x"}, time=1000.0)
    spent = {"seconds": 900.0, "cores": 4, "time": 1000.0, "where": to_json(QUEUED), "failed": "x"}
    again = record("label a", outputs={"earlier": [spent]})
    growing = Accounts().add([failed]).add([again])
    whole = Accounts().add([again])  # what a later process reads
    assert growing.kinds == whole.kinds
    assert (whole.kinds["label"].done, whole.kinds["label"].failed) == (1, 1)
    assert whole.kinds["label"].core_s == 7200.0


def test_the_idle_share_of_an_allocation() -> None:
    pool = Pool("5", 2, 8, 2, began=1000.0, ends_at=9000.0)
    mine = [
        record("a", Where("label", "cpu", "5", "n1", 4, 0, None, 1500.0, pool), seconds=500.0),
        record("b", Where("train", "gpu", "5", "n2", 4, 1, None, 1000.0, pool), seconds=1000.0),
    ]
    (found,) = Accounts().add(mine).allocations()
    assert (found["number"], found["cores"], found["gpus"]) == ("5", 8, 2)
    assert found["seconds"] == 1000.0
    assert found["idle_share"] == pytest.approx(1 - (4 * 500 + 4 * 1000) / 8000)
    assert found["gpu_idle_share"] == 0.5


def test_a_workstation_begins_with_its_first_job() -> None:
    pool = Pool("", 1, 2)
    where = [Where("label", "", "", "", 1, 0, None, start, pool) for start in (100.0, 150.0)]
    mine = [record(str(w.started), w, seconds=50.0, time=w.started + 50) for w in where]  # type: ignore[operator]
    (found,) = Accounts().add(mine).allocations()
    assert (found["seconds"], found["idle_share"], found["gpu_idle_share"]) == (100.0, 0.5, None)


@pytest.mark.parametrize(
    ("round_", "rounds", "at", "ends"),
    [
        (4, 6, 3300.0, 3100 + 3 * 900),  # rounds of 800, 900, 900 s
        (4, 6, 4500.0, 4500 + 2 * 900),  # the present one takes longer already
        (4, 4, 3300.0, 3100 + 900),
        (1, 6, 500.0, None),  # no round is finished
        (4, 0, 3300.0, None),
    ],
)
def test_the_end_is_expected_by_the_last_rounds(
    round_: int, rounds: int, at: float, ends: float | None
) -> None:
    begun = {0: 0.0, 1: 500.0, 2: 1300.0, 3: 2200.0, 4: 3100.0}
    accounts = Accounts(begun={n: time for n, time in begun.items() if n <= round_})
    assert accounts.expected_end(round_, rounds, at) == ends


def test_tables_in_words() -> None:
    pool = Pool("5", 1, 8, began=1000.0)
    mine = [record("a"), record("b", Where("label", "", "5", "n1", 4, 0, None, 1000.0, pool))]
    accounts = Accounts().add(mine)
    site = {"partitions": accounts.by_partition(), "allocations": accounts.allocations()}
    by_partition, allocations = site_ledger.tables(site)
    assert by_partition[2] == [
        ("cpu", 1, 0, 1.0, 0.0, "1 min 00 s", "1 min 00 s"),
        ("(none)", 1, 0, 1.0, 0.0, "–", "–"),
    ]
    assert allocations[2] == [("5", 1, 8, 0, 0.25, "50 %", "–")]
    assert site_ledger.tables(None) == []


def test_waiting_in_a_queue_is_no_pause() -> None:
    """Else the wall time of a campaign on a busy cluster would be that of its engines alone."""
    first = record("a", None, seconds=100.0, time=100.0)
    queued = Where("label", submitted=150.0, started=900.0)
    waited = record("b", queued, seconds=100.0, time=1000.0)
    alone = record("b", None, seconds=100.0, time=1000.0)
    assert ledger.timeline([first, alone])["wall_seconds"] == 200.0
    assert ledger.timeline([first, waited]) == {
        "wall_seconds": 950.0,
        "idle_seconds": 750.0,
        "idle_share": round(750 / 950, 4),
    }
