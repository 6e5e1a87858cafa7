"""A record that lacks what is to be made of it is one line that names it, never a traceback."""

import io
import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.recorded import RECORDED
from phasewalk.commands import report
from phasewalk.commands.terminal import Terminal
from phasewalk.errors import ParseError, PhasewalkError
from phasewalk.status import summary
from phasewalk.store import directory, shapes
from phasewalk.store.journal import Record

RECORDS = directory.read_campaign(RECORDED).records()


def last(stage: str) -> Record:
    return [record for record in RECORDS if record.stage == stage][-1]


def places(shape: Any, *before: Any) -> list[tuple[Any, ...]]:
    """Where something is asked for."""
    if isinstance(shape, tuple) and None in shape:
        shape = shape[0]
    if isinstance(shape, Mapping):
        inner = [place for k, s in shape.items() for place in places(s, *before, k)]
        return [*((*before, k) for k in shape), *inner]
    return places(shape[0], *before, 0) if isinstance(shape, list) else []


ASKED = [(stage, place) for stage, shape in shapes.SHAPES.items() for place in places(shape)]


def damaged(record: Record, place: tuple[Any, ...], value: Any) -> Record | None:
    """A record without one field (`value` is None), or with another thing there."""
    outputs = json.loads(json.dumps(record.outputs))
    inside = outputs
    for name in place[:-1]:
        inside = inside[name]
        if inside is None:
            return None
    if value is None:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return replace(record, outputs=outputs)


def test_the_records_of_a_campaign_hold_what_they_should() -> None:
    assert shapes.fault(RECORDS) == ""


@pytest.mark.parametrize(("stage", "place"), ASKED, ids=lambda one: str(one))
def test_each_field_that_is_missing_is_named(stage: str, place: tuple[Any, ...]) -> None:
    (record, wrong), *_ = [
        (one, made)
        for one in reversed(RECORDS)
        if one.stage == stage and (made := damaged(one, place, None)) is not None
    ]
    told = shapes.fault([wrong])
    assert told.startswith(f"{record.task!r} does not hold what it should: ")
    assert told.endswith(f"{place[-1]} is missing")


@pytest.mark.parametrize(
    ("stage", "place", "value"),
    [
        ("segment", ("walkers",), "all"),
        ("segment", ("walkers", 0, "steps_done"), True),
        ("train", ("epochs",), "many"),
        ("train", ("last_epoch",), []),
        ("evaluate", ("new", "force_mae_meV_per_A"), "small"),
        ("label", ("key",), 7),
    ],
)
def test_a_field_of_another_kind_is_named(stage: str, place: tuple[Any, ...], value: Any) -> None:
    records = [one for one in RECORDS if one.stage == stage]
    found = [made for one in records if (made := damaged(one, place, value)) is not None]
    assert str(place[-1]) in shapes.fault(found)


@pytest.mark.parametrize(
    ("stage", "place"), [one for one in ASKED if len(one[1]) == 1], ids=lambda one: str(one)
)
def test_nothing_that_shows_a_campaign_ends_in_a_traceback(
    tmp_path: Path, stage: str, place: tuple[Any, ...]
) -> None:
    root = tmp_path / "salt.run"
    root.mkdir()
    for name in ("campaign.json", "campaign.yaml"):
        shutil.copy(RECORDED / name, root)
    wrong = damaged(last(stage), place, None)
    assert wrong is not None
    records = [wrong if one is last(stage) or one.task == wrong.task else one for one in RECORDS]
    with closing(directory.reopen_campaign(root)) as opened:
        opened.replace(records)
    told = ""
    try:
        summary.show(summary.collect(root), Terminal(file=io.StringIO(), width=200))
    except PhasewalkError as error:
        told = str(error)
    where = f"{root / 'journal.jsonl'}: {wrong.task!r} does not hold what it should: {place[0]}"
    assert told in ("", f"{where} is missing; restore it from a backup")


def test_a_report_of_a_record_that_lacks_something_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "salt.run"
    shutil.copytree(RECORDED, root)
    wrong = damaged(last("segment"), ("hills",), None)
    assert wrong is not None
    with closing(directory.reopen_campaign(root)) as opened:
        opened.replace([wrong if one.task == wrong.task else one for one in RECORDS])
    with pytest.raises(ParseError, match="hills is missing"):
        report.show_report(root)


def test_an_error_of_the_program_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="ours"), shapes.journalled(RECORDED, else_ours=True):
        raise KeyError("ours")
    with pytest.raises(PermissionError), shapes.journalled(RECORDED):
        raise PermissionError(13, "Permission denied", "report.html")
