"""Typed records: names, what each stage leaves, and what is said of a record that lacks it."""

import io
import json
import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from helpers.recorded import RECORDED
from phasewalk.commands import report
from phasewalk.commands.terminal import Terminal
from phasewalk.errors import ParseError, PhasewalkError
from phasewalk.status import summary
from phasewalk.store import directory, records_names
from phasewalk.store.journal import line_of, read_journal
from phasewalk.store.records import Record, at_end, each
from phasewalk.store.records_models import Evaluated
from phasewalk.store.records_outputs import BY_STAGE, Failed, Labelled, Segment

LATE = {"labels": [{"key": "0123", "walker": "mil53_al-0"}, {"key": "4567", "walker": None}]}
COMPARED = {
    **{"generation": "final", "before": "4", "checkpoint": "0123", "frames": 30, "worse": []},
    "errors": {"force_mae": {"now": 80.0, "before": 70.0, "standard_error": 9.0}},
    "better": "models/gen-004/torchscript-cpu/model.nequip.pth",
}
OTHER_FORM = {
    **{"generation": "final", "file": "models/final/aotinductor-cpu/model.nequip.pt2"},
    **{"sha256": "0123", "mode": "aotinductor", "stamp": {"device": "cpu"}},
    **{"seconds_per_step": 0.002, "proof": {"checks": 9, "warnings": []}},
}
FOR_RANKS = {
    **{"generation": "3", "file": "models/gen-003/torchscript-cpu/model.exchange.nequip.pth"},
    **{"sha256": "4567", "mode": "torchscript", "stamp": {"device": "cpu"}, "ranks": 2},
    "proof": {"checks": 1, "warnings": []},
}
HELD_OUT = {"labels": [{"key": "89ab", "walker": "mil53_al-1", "why": "its energy"}]}
RECORDS = [
    *directory.read_campaign(RECORDED).records(),
    # it has none of these
    Record(
        *("late labels of round 1", "late", 1, "", LATE, 0.0, 0.0),
        source=RECORDED / directory.JOURNAL,
    ),
    Record(
        *("labels of round 1 held out", "held out", 1, "", HELD_OUT, 0.0, 0.0),
        source=RECORDED / directory.JOURNAL,
    ),
    Record(
        *("errors of generation final compared", "compared", 4, "", COMPARED, 0.0, 0.0),
        source=RECORDED / directory.JOURNAL,
    ),
    Record(
        *("other form of generation final", "form", 4, "", OTHER_FORM, 0.0, 0.0),
        source=RECORDED / directory.JOURNAL,
    ),
    Record(
        *("generation 3 on several ranks, torchscript", "ranks", 3, "", FOR_RANKS, 0.0, 0.0),
        source=RECORDED / directory.JOURNAL,
    ),
]
TOLD = "is not a valid record: "


def last(stage: str) -> Record:
    return [record for record in RECORDS if record.stage == stage][-1]


def places(kind: type[BaseModel], *before: Any) -> list[tuple[Any, ...]]:
    """Where a field must be, in all parts of what a stage leaves."""
    found: list[tuple[Any, ...]] = []
    for name, field in kind.model_fields.items():
        inside = field.annotation
        parts = (inside, *get_args(inside), *(b for a in get_args(inside) for b in get_args(a)))
        listed = "list[" in str(inside)
        if field.is_required():
            found.append((*before, name))
            for part in parts:
                if isinstance(part, type) and issubclass(part, BaseModel):
                    if "dict[" not in str(inside):
                        found += places(part, *before, name, *([0] if listed else []))
                    break
    return found


ASKED = [(stage, place) for stage, kind in BY_STAGE.items() for place in places(kind)]


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


def test_the_fields_that_are_asked_for_are_many() -> None:
    assert len(ASKED) > 40
    assert ("segment", ("walkers", 0, "steps_done")) in ASKED


def test_the_records_of_a_campaign_hold_what_they_should() -> None:
    assert {type(record.made) for record in RECORDS} >= set(BY_STAGE.values())
    for record in RECORDS:  # nothing is lost, and no number becomes another
        assert json.dumps(record.made.dump(), sort_keys=True) == json.dumps(
            record.outputs, sort_keys=True
        )


@pytest.mark.parametrize(("stage", "place"), ASKED, ids=lambda one: str(one))
def test_each_field_that_is_missing_is_named(stage: str, place: tuple[Any, ...]) -> None:
    record, wrong = next(
        (one, made)
        for one in reversed(RECORDS)
        if one.stage == stage and (made := damaged(one, place, None)) is not None
    )
    with pytest.raises(ParseError) as caught:
        _ = wrong.made
    name = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place)[1:]
    assert str(caught.value) == (
        f"{RECORDED / 'journal.jsonl'}: {record.task!r} {TOLD}{name} is missing; "
        "restore it from a backup"
    )


@pytest.mark.parametrize(
    ("stage", "place", "value", "told"),
    [
        ("segment", ("walkers",), "all", "walkers is 'all', expected a valid list"),
        ("segment", ("walkers", 0, "steps_done"), True, "walkers[0].steps_done is True, expected"),
        ("train", ("epochs",), "many", "epochs is 'many', expected a number"),
        ("train", ("last_epoch",), [], "last_epoch is []"),
        ("evaluate", ("test", "force_mae_meV_per_A"), "small", "test.force_mae_meV_per_A is"),
        ("label", ("key",), 7, "key is 7, expected a valid string"),
        ("stop", ("rules", 0, "met"), "yes", "rules[0].met is 'yes'"),
        ("colvars", ("values",), [], "values is []"),
    ],
)
def test_a_field_of_another_kind_is_named(
    stage: str, place: tuple[Any, ...], value: Any, told: str
) -> None:
    wrong = next(
        made
        for one in reversed(RECORDS)
        if one.stage == stage and (made := damaged(one, place, value)) is not None
    )
    with pytest.raises(ParseError, match=r"journal\.jsonl") as caught:
        _ = wrong.made
    assert TOLD + told in str(caught.value)


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
    records = [wrong if one.task == wrong.task else one for one in RECORDS]
    with closing(directory.reopen_campaign(root)) as opened:
        opened.replace(records)
    told = ""
    try:
        summary.show(summary.collect(root), Terminal(file=io.StringIO(), width=200))
    except PhasewalkError as error:
        told = str(error)
    where = f"{root / 'journal.jsonl'}: {wrong.task!r} {TOLD}{place[0]}"
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


def test_a_journal_that_is_read_and_written_has_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "salt.run"
    shutil.copytree(RECORDED, root)
    with closing(directory.reopen_campaign(root)) as opened:
        for record in opened.records():
            _ = record.made
        opened.replace(opened.records())
    assert (root / "journal.jsonl").read_bytes() == (RECORDED / "journal.jsonl").read_bytes()


def test_what_a_later_version_adds_is_kept_and_not_looked_at() -> None:
    segment = last("segment")
    newer = replace(segment, outputs={**segment.outputs, "tides": [1, {"high": True}]})
    assert newer.of(Segment).walkers == segment.of(Segment).walkers
    assert newer.made.dump()["tides"] == [1, {"high": True}]
    unknown = Record("tide 1", "tide", 1, "", {"high": True}, 1.0, 1e9)
    assert unknown.made.dump() == {"high": True}


def test_a_failed_task_says_why_and_is_none_of_its_stage() -> None:
    outputs = {"failed": "no luck", "kind": "crash", "earlier": [{"seconds": 1.0, "cores": 2}]}
    record = Record("label a of round 1", "label", 1, "a", outputs, 1.0, 1e9)
    assert isinstance(record.made, Failed)
    assert (record.made.reason, record.made.kind, len(record.earlier)) == ("no luck", "crash", 1)
    assert list(each([record], Labelled)) == []
    with pytest.raises(
        ParseError, match=r"'label a of round 1' is not a valid record: key is missing"
    ):
        record.of(Labelled)


def test_names_of_tasks_are_those_of_journals_that_are_there() -> None:
    """A name that changes makes a campaign do everything again."""
    label = last("label")
    made = {
        records_names.label_task(label.of(Labelled).key, label.round),
        *(records_names.train_task(name) for name in (0, "4", records_names.FINAL)),
        *(records_names.deploy_task(name) for name in ("0", records_names.FINAL)),
        *(
            records_names.evaluate_task(3, 4),
            records_names.segment_task(2),
            records_names.steer_task(2),
        ),
        *(
            records_names.stop_task(0),
            records_names.end_task(4),
            records_names.versions_task(1),
            records_names.atom_task("Al"),
        ),
        *(records_names.colvars_task("mil53_al", number) for number in (1, None)),
        records_names.compile_task("torchscript", "3792538976ac2f1129bf7dba"),
        records_names.ranks_task("3", "torchscript"),
    }
    assert made <= {record.task for record in RECORDS}
    final = [record.task for record in RECORDS if at_end(record)]
    assert final == [
        *(f"{what} generation final" for what in ("train", "deploy")),
        "evaluate generation final on round 4",
        "end after round 4",
        "errors of generation final compared",
        records_names.form_task(records_names.FINAL),
    ]


def test_many_records_are_read_fast(tmp_path: Path) -> None:
    """100,000 take 4 s of one core: as long as they may, and no more than linear."""
    label, count = last("label"), 3_000
    lines, crc = [], 0
    for number in range(count):
        one = replace(label, task=records_names.label_task(f"{number:024x}", 1))
        line, crc = line_of(one, crc)
        lines.append(line)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(lines))
    began = time.process_time()
    found = [one for _, one in each(read_journal(path)[0].values(), Labelled)]
    assert len(found) == count
    assert time.process_time() - began < 2.0  # 0.1 s on an idle machine


def test_an_error_that_is_not_known_is_none() -> None:
    """Journals of earlier versions know fewer of them."""
    test = last("evaluate").of(Evaluated).test
    assert test is not None
    assert test.value("force_zero_mae_meV_per_A") is None
    assert test.value("energy_mae_meV_per_atom") == pytest.approx(test.energy_mae_meV_per_atom)  # type: ignore[attr-defined]
