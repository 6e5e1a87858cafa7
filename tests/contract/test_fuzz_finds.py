"""The fuzzing finds bugs: each of these, planted, is reported within the same number of cases."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.fuzz import fuzz
from helpers.readers import READERS
from phasewalk import files, settings, settings_files
from phasewalk.bias import dumps, hills
from phasewalk.labels import label
from phasewalk.models import model
from phasewalk.rounds import steer
from phasewalk.walkers import logs

whole_number = dumps._count


def first_of_an_empty_section(path: Path, lines: Sequence[str], section: tuple[int, int]) -> int:
    start, stop = section
    return int(lines[start + 1 : stop][0])


def any_word_is_a_number(
    path: Path, lines: Sequence[str], index: int, width: int
) -> tuple[float, ...]:
    return tuple(float(word) for word in lines[index].split())


def any_number_of_digits(words: Sequence[str], system: str, *rest: Any) -> hills.Hill:
    return hills.Hill(system, words[0], words[1], *map(int, words[2:5]), True, words[6])  # type: ignore[arg-type]


def keys_are_there(path: Path, kind: Any) -> list[Any]:
    return [steer._State.model_construct(**one) for one in json.loads(path.read_text())]


def whole_json(path: Path, kind: Any, *, unlike: str) -> Any:
    json.loads(path.read_text())
    return files.read(path, kind, unlike=unlike)


def whole_text(text: str, kind: Any, **rest: Any) -> Any:
    json.loads(text)
    return files.typed(text, kind, **rest)


def unfinished_lines(path: Path) -> tuple[list[str], bool]:
    return path.read_bytes().decode(errors="replace").splitlines(), True


def room_for_all_atoms(path: Path, lines: Sequence[str], section: tuple[int, int]) -> int:
    count = whole_number(path, lines, section)
    return len(np.zeros((count, 3)))


def the_last_section_counts(path: Path, lines: Sequence[str], start: int) -> dict[str, Any]:
    rest = range(start + 1, len(lines))
    end = next((index for index in rest if lines[index] == "ITEM: TIMESTEP"), len(lines))
    marks = [start, *(i for i in range(start + 1, end) if lines[i].startswith("ITEM: ")), end]
    names = [lines[mark].removeprefix("ITEM: ") for mark in marks[:-1]]
    kinds = [next((k for k in dumps._ITEMS if name.startswith(k)), name) for name in names]
    return dict(zip(kinds, pairwise(marks), strict=True))


@pytest.mark.parametrize(
    ("reader", "module", "name", "planted", "report"),
    [
        ("dump", dumps, "_count", first_of_an_empty_section, "untyped: (IndexError|ValueError)"),
        ("dump", dumps, "finished_lines", unfinished_lines, "read what no file held"),
        ("dump", dumps, "_count", room_for_all_atoms, "untyped: (MemoryError|_ArrayMemoryError)"),
        ("dump", dumps, "_sections", the_last_section_counts, "read what no file held"),
        ("log", logs, "numbers", any_word_is_a_number, "untyped: ValueError"),
        ("COLVAR", dumps, "numbers", any_word_is_a_number, "untyped: ValueError"),
        ("hills record", hills, "_hill", any_number_of_digits, "untyped: (Value|Index)Error"),
        ("walkers", steer, "read", keys_are_there, "untyped: (Attribute|Type|JSON)"),
        ("stamp", model, "read", whole_json, "untyped: (JSON|Unicode)DecodeError"),
        ("label", label, "typed", whole_text, "untyped: (JSONDecode|Recursion)Error"),
        ("campaign.yaml", settings, "MAX_VALUES", 10**12, "no answer|MemoryError"),
        ("campaign.yaml", settings_files, "brief", str, "endless message|not one printable line"),
    ],
)
def test_a_planted_bug_is_found(
    reader: str,
    module: Any,
    name: str,
    planted: Any,
    report: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, planted)
    with pytest.raises(AssertionError, match=report):
        fuzz(READERS[reader], tmp_path, shrink=False)
