"""LAMMPS logs: thermo tables, steps done, soft stops."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from phasewalk.errors import ParseError
from phasewalk.store.records_outputs import Walked
from phasewalk.walkers import logs
from phasewalk.walkers.limits import ENDED
from phasewalk.walkers.logs import Stop, Tail

DATA = Path(__file__).parents[1] / "data"
SEGMENT = DATA / "segment"


def write(folder: Path, text: str) -> Path:
    path = folder / "log"
    path.write_text(text)
    return path


def test_recorded_log() -> None:
    log = logs.read_log(SEGMENT / "ar-0.log")
    assert (log.first_step, log.last_step, log.steps_done) == (110, 220, 110)
    assert list(log.thermo["Step"]) == [110, 120, 140, 160, 180, 200, 220]
    assert log.loop_s is not None
    assert log.stop is None
    assert not log.errors
    assert "skew is large" in log.warnings[0]


def test_log_of_a_run_that_ended_with_an_error() -> None:
    log = logs.read_log(DATA / "failed.log")
    assert (log.first_step, log.last_step, log.loop_s) == (1000, 1020, None)
    assert "tilted box too far" in log.errors[0]


STOP = '{"step": 1031, "reason": "force", "value": 67.1, "limit": 50, "good": 990, "says": ""}'
STOPPED = f"""\
   Step          Temp
      1000  300
      1020  294.6
phasewalk/stop: {STOP}
Loop time of 0.000424207 on 1 procs for 31 steps with 32 atoms
"""


def test_log_of_a_soft_stop(tmp_path: Path) -> None:
    log = logs.read_log(write(tmp_path, STOPPED))
    assert log.stop == Stop(1031, "force", 67.1, 50.0, 990)
    assert (log.last_step, log.steps_done) == (1031, 31)


@pytest.mark.parametrize(
    ("change", "stop"),
    [
        ({"value": None, "good": None}, Stop(1031, "force", math.nan, 50.0, None)),
        (
            {"reason": "plumed", "value": 0, "says": 'Point "1.2" {is} \\ off'},
            Stop(1031, "plumed", 0.0, 50.0, 990, 'Point "1.2" {is} \\ off'),
        ),
        ({"reason": "another walker"}, Stop(1031, "another walker", 67.1, 50.0, 990)),
        ({"value": "x"}, None),
        ({"step": -1}, None),
        ({"step": 1.5}, None),
        ({"good": True}, None),
        ({"reason": "<b>"}, None),
        ({"reason": None}, None),
    ],
)
def test_stops(tmp_path: Path, change: dict[str, Any], stop: Stop | None) -> None:
    line = json.dumps({**json.loads(STOP), **change})
    found = logs.read_log(write(tmp_path, STOPPED.replace(STOP, line))).stop
    assert repr(found) == repr(stop)  # nan is not itself


def test_half_a_stop_is_none(tmp_path: Path) -> None:
    for end in range(len(STOP)):
        assert logs.read_log(write(tmp_path, STOPPED.replace(STOP, STOP[:end]))).stop is None


def test_log_row_of_wrong_width(tmp_path: Path) -> None:
    with pytest.raises(ParseError, match="line 2: expected 2 numbers"):
        logs.read_log(write(tmp_path, " Step Temp\n 1000 300 3\n"))


def test_tail_of_a_growing_log(tmp_path: Path) -> None:
    path = write(tmp_path, "   Step Temp\n   1000 300\n   1020 29")
    assert logs.read_tail(path) == Tail({"Step": 1000, "Temp": 300}, 1000)
    assert logs.read_tail(tmp_path / "none") == Tail({})
    recorded = logs.read_tail(SEGMENT / "ar-0.log")
    assert (recorded.step, recorded.stop) == (220, None)
    assert recorded.thermo == {
        name: values[-1] for name, values in logs.read_log(SEGMENT / "ar-0.log").thermo.items()
    }


def test_tail_of_a_long_log_has_its_names_from_the_beginning(tmp_path: Path) -> None:
    rows = "".join(f"   {step} {step}.5\n" for step in range(1000, 9000))
    path = write(tmp_path, f"LAMMPS\n   Step Temp\n{rows}")
    assert logs.read_tail(path, size=100) == Tail({"Step": 8999, "Temp": 8999.5}, 8999)


def test_tail_with_a_soft_stop(tmp_path: Path) -> None:
    found = logs.read_tail(write(tmp_path, STOPPED))
    assert (found.step, found.thermo["Temp"]) == (1031, 294.6)
    assert found.stop == Stop(1031, "force", 67.1, 50.0, 990)


@pytest.mark.parametrize(
    ("entry", "broke"),
    [
        ({"halted": None, "stop": None}, False),
        ({"halted": "a force of 60 eV/Å", "stop": {"reason": "force"}}, True),
        ({"halted": "the end of the launch"}, True),
        ({"halted": "COMMITTOR reached basin 1", "stop": {"reason": ENDED}}, False),
    ],
)
def test_an_end_that_the_plumed_text_asked_for_is_no_breakdown(
    entry: dict[str, object], broke: bool
) -> None:
    known = {"walker": "a-0", "system": "a", "steps_done": 1}
    assert logs.broke_down(Walked.model_validate({**known, **entry})) is broke
