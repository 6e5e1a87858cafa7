"""What a running campaign shows: lines in a file, a live line on a terminal."""

import io

import pytest
from rich.console import Console

from phasewalk import progress
from phasewalk.progress import Progress


def shown(*, terminal: bool, width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True)
    with Progress(console) as seen:
        seen.begin(0, "label", 8, "labels")
        seen.advance(3, "")
        seen.begin(2, "segment", 800, "steps")
        seen.advance(400, "(slowest walker 100 of 400)")
        seen.say("salt-0: 400 steps; [last frame], " + "very " * 20 + "long")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_file_gets_whole_lines_only() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line.strip() for line in lines] == [
        "0 s  bootstrap: label took 0.0 s",
        f"salt-0: 400 steps; [last frame], {'very ' * 20}long",
        "0 s  round 2: segment took 0.0 s",
    ]


def test_a_file_gets_a_sign_of_life_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", -1.0)
    text = shown(terminal=False)
    assert "bootstrap: label  3 of 8 labels  [0 s]" in text
    assert "round 2: segment  400 of 800 steps (slowest walker 100 of 400)  [0 s]" in text


def test_a_terminal_shows_how_far_it_is() -> None:
    text = shown(terminal=True, width=100)
    assert "3 of 8 labels" in text
    assert "400 of 800 steps (slowest walker 100 of 400)" in text


def test_an_end_without_a_stage() -> None:
    console = Console(file=io.StringIO())
    with Progress(console) as seen:
        seen.say("nothing to do")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "  nothing to do\n"


def test_a_total_that_nobody_knows() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Progress(console) as seen:
        seen.begin(1, "train generation 1", 0, "epochs")
        seen.advance(5, "of 40")
    assert isinstance(console.file, io.StringIO)
    assert "round 1: train generation 1  5 epochs of 40" in console.file.getvalue()
