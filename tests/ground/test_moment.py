"""What a campaign is doing: its file, strictly read back, and how people see it."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from phasewalk import moment
from phasewalk.errors import ParseError
from phasewalk.moment import Now, Pace, WalkerNow
from phasewalk.status import progress

ROW = WalkerNow("salt-0", 120, 400, 0.06, 301.5, 179.25, {"vol": 0.17925}, 0.91)
STOPPED = WalkerNow("salt-1", 35, 400, 0.0175, None, None, {}, None, "stopped: force")
NOW = Now(2, 4, "segment", 155, 800, "steps", "(slowest walker 120 of 400)", 1e9, 1e9 + 12, 83.4,
          0.0123, "rounds/002/segment", (ROW, STOPPED))  # fmt: skip


def damaged(*path: str | int, value: Any) -> Any:
    data = json.loads(moment.to_text(NOW))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


def test_it_is_read_back_as_it_was() -> None:
    assert moment.from_json(json.loads(moment.to_text(NOW))) == NOW
    labels = replace(NOW, unit="labels", rows=(), numbers={"running": 2, "failed": 1})
    assert moment.from_json(json.loads(moment.to_text(labels))) == labels


def test_what_is_not_finite_is_null() -> None:
    row = replace(ROW, temperature_K=math.nan, colvars={"vol": math.inf})
    data = moment.to_json(replace(NOW, rows=(row,), numbers={"force_mae_meV_per_A": math.nan}))
    assert data["rows"][0]["temperature_K"] is None
    assert data["rows"][0]["colvars"] == {"vol": None}
    found = moment.from_json(json.loads(json.dumps(data, allow_nan=False)))
    assert found.rows[0].temperature_K is None
    assert math.isnan(found.rows[0].colvars["vol"])
    assert progress.lines(found)
    assert shown(found)


@pytest.mark.parametrize(
    "data",
    [
        None, [], {}, "x", 1,
        damaged("round", value=-1),
        damaged("round", value=1.5),
        damaged("stage", value=None),
        damaged("done", value=None),
        damaged("done", value=math.nan),
        damaged("at", value="1"),
        damaged("at", value=True),
        damaged("total", value=math.inf),
        damaged("seconds_left", value=[]),
        damaged("numbers", value=[]),
        damaged("numbers", value={"failed": "x"}),
        damaged("rows", value=1),
        damaged("rows", value=[1]),
        damaged("rows", 0, "state", value="asleep"),
        damaged("rows", 0, "steps", value=None),
        damaged("rows", 0, "colvars", value={"v": [1]}),
        damaged("rows", 0, "more", value=1),
        damaged("more", value=1),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(data: Any) -> None:
    with pytest.raises(ParseError, match=r"now\.json: not the state of a running campaign"):
        moment.from_json(data)


def test_a_file_that_is_no_use_is_none(tmp_path: Path) -> None:
    path = tmp_path / moment.FILE
    assert moment.read(tmp_path, NOW.at) is None
    whole = moment.to_text(NOW).encode()
    for cut in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:cut])
        assert moment.read(tmp_path, NOW.at) is None
    for junk in (b"\xff\xfe", b"[" * 50_000, b"{}", b"null", b"9" * 5000):
        path.write_bytes(junk)
        assert moment.read(tmp_path, NOW.at) is None
    path.write_bytes(whole)
    assert moment.read(tmp_path, NOW.at) == NOW


@pytest.mark.parametrize(("age", "known"), [(0, True), (59, True), (61, False), (-61, False)])
def test_an_old_file_says_nothing(tmp_path: Path, age: float, known: bool) -> None:
    (tmp_path / moment.FILE).write_text(moment.to_text(NOW))
    assert (moment.read(tmp_path, NOW.at + age) is not None) == known


def shown(found: Now) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(progress.render(found))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_for_people() -> None:
    text = shown(NOW)
    assert "round 2 of 4: segment  12 s, about 1 min 23 s left" in text
    assert "155 of 800 steps (slowest walker 120 of 400)" in text
    assert "salt-0" in text
    first, second = (" ".join(line.split()) for line in text.splitlines()[3:5])
    assert first == "salt-0 120 of 400 0.060 302 179.2 vol 0.17925 0.91 running"
    assert second == "salt-1 35 of 400 0.018 stopped: force"
    assert "0.0123 core-hours so far; files in rounds/002/segment" in text


def test_a_free_energy_has_no_round_and_no_bootstrap() -> None:
    stage = "free energy of generation 3: segment 2 of 10"
    assert replace(NOW, stage=stage).title == stage
    stage = "free energy of generation 3: label"
    assert replace(NOW, round=0, stage=stage).title == stage
    assert replace(NOW, round=0, stage="label").title == "bootstrap: label"


def test_in_plain_lines() -> None:
    head, first, second, foot = progress.lines(NOW)
    assert head == (
        "round 2 of 4: segment  155 of 800 steps (slowest walker 120 of 400)  "
        "[12 s, about 1 min 23 s left]"
    )
    assert first.split(", ") == [
        "  salt-0", "step 120 of 400", "0.060 ps", "302 K", "179.2 Å³", "vol 0.17925",
        "closest contact 0.91", "running",
    ]  # fmt: skip
    assert second == "  salt-1, step 35 of 400, 0.018 ps, stopped: force"
    assert foot == "0.0123 core-hours so far; files in rounds/002/segment"


def test_labels_that_are_done_running_failed() -> None:
    labels = replace(NOW, round=0, stage="label", done=3, total=8, unit="labels", detail="",
                     numbers={"running": 2, "failed": 1}, seconds_left=None, rows=())  # fmt: skip
    assert (
        progress.headline(labels) == "bootstrap: label  3 of 8 labels (2 running, 1 failed)  [12 s]"
    )


def test_no_time_left_is_not_said() -> None:
    assert progress.headline(replace(NOW, seconds_left=0.2)).endswith("[12 s]")


def test_large_counts_stay_whole() -> None:
    assert "1234567 of 8000000 steps" in progress.headline(replace(NOW, done=1234567, total=8e6))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"),
     (7500, "2 h 05 min"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert moment.duration(seconds) == text


def test_a_pace_leaves_out_the_start() -> None:
    pace = Pace()
    assert pace.left(0, 100, at=5) is None  # the program starts
    assert pace.left(10, 100, at=30) is None
    assert pace.left(20, 100, at=31) == pytest.approx(8.0)
    assert pace.left(20, 100, at=31.5) == pytest.approx(7.5)  # the clock goes on between signs
    assert pace.left(20, 100, at=99) == 0.0
