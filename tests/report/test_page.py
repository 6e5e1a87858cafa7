"""The report of a recorded campaign (tests/data/README.md), whole, damaged, and cut short."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from helpers.recorded import RECORDED, only_bootstrap, rewrite, with_failures
from phasewalk.commands.report import show_report
from phasewalk.errors import InputError, ParseError, StoreError
from phasewalk.report import figures
from phasewalk.report import page as report
from phasewalk.status import history, verdict
from phasewalk.status.history import History
from phasewalk.store.records import Record

MOST_BYTES = 1_000_000
"""Of a page that is mailed."""


@pytest.fixture(scope="module")
def recorded() -> History:
    return history.read(RECORDED)


@pytest.fixture(scope="module")
def page(recorded: History) -> str:
    return report.page(recorded)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "copy.run"))


class Page(HTMLParser):
    """Text without scripts and styles, and what the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.figures = self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        self.figures += tag == "figure"
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.loads.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert len(page.encode()) < MOST_BYTES
    outside = [load for load in Page(page).loads if not load.startswith(("#", "data:"))]
    assert outside == []
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_no_two_things_of_the_page_have_one_name(page: str) -> None:
    ids = Page(page).ids
    assert sorted(ids) == sorted(set(ids))
    wanted = {load[1:] for load in Page(page).loads if load.startswith("#")}
    assert wanted <= set(ids)


def test_the_key_numbers_are_text(page: str, recorded: History) -> None:
    """Without JavaScript: what the journal holds stands in the page."""
    text = Page(page).text
    last = [e["before_learning"] for e in recorded.state["rounds"] if "before_learning" in e][-1]
    assert f"{last['force_mae_meV_per_A']:.0f} meV/Å" in text
    assert f"{last['pressure_mae_GPa']:.2g} GPa" in text
    assert f"Labels {recorded.state['labels']['done']} " in text
    hours = sum(recorded.state["cost"]["core_hours"].values())
    assert f"Core-hours {hours:.3g}" in text
    assert f"Result: {verdict.judge(recorded).word}" in text
    for section in report.sections(recorded):
        assert section.how.split(".")[0] in text


def test_every_part_but_the_free_energy_has_pictures(recorded: History, page: str) -> None:
    sections = report.sections(recorded)
    empty = [section.name for section in sections if not section.pictures]
    assert empty == ["free-energy"]
    assert Page(page).figures == sum(len(section.pictures) for section in sections)


def test_the_range_is_that_of_the_colvar_files(recorded: History) -> None:
    lowest = min(
        float(line.split()[1])
        for path in RECORDED.glob("rounds/*/segment/*.colvar")
        for line in path.read_text().splitlines()
        if not line.startswith("#")
    )
    assert verdict.ranges(recorded)["mil53_al", "volume"][0] == pytest.approx(lowest)


def test_points_of_the_learning_curve_are_the_journals(recorded: History) -> None:
    (curve,) = (p for p in report.sections(recorded)[0].pictures if p.name == "learning-forces")
    rows = [row for row in curve.rows if str(row[2]).startswith("new frames")]
    for entry in recorded.state["rounds"][1:]:
        before = entry["before_learning"]
        generation = next(
            g for g in recorded.state["generations"] if g["generation"] == before["generation"]
        )
        labels = generation["training_labels"] + generation["validation_labels"]
        title = f"new frames of round {entry['round']}"
        assert (labels, before["generation"], title, before["force_mae_meV_per_A"]) in rows


def test_frames_that_were_learned_are_no_out_of_sample_errors(recorded: History) -> None:
    shown = [row for s in report.sections(recorded) if s.name == "along" for p in s.pictures
             for row in p.rows]  # fmt: skip
    new = [row for row in shown if row[1] == "new"]
    labelled = [r for r in recorded.records if r.stage == "label" and r.round > 0]
    assert len(new) == len(labelled)  # each once, by the generation that led there


def test_figures_are_files_for_a_paper(
    recorded: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [figures.learning(recorded), figures.along(recorded)]
    monkeypatch.setattr(report, "sections", lambda found: some)
    files = report.write_figures(recorded, tmp_path / "figures")
    pictures = [p for section in some for p in section.pictures]
    names = [f"{p.name}.{ending}" for p in pictures for ending in ("csv", "pdf", "png", "svg")]
    groups = {picture.group or picture.name for picture in pictures}
    names += [f"{name}-wide.{ending}" for name in groups for ending in ("pdf", "png", "svg")]
    assert sorted(path.name for path in files) == sorted([*names, "made-from.json"])
    for picture in pictures:
        assert (tmp_path / f"figures/{picture.name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / f"figures/{picture.name}.pdf").read_bytes()[:4] == b"%PDF"
        assert "<svg" in (tmp_path / f"figures/{picture.name}.svg").read_text()
        text = (tmp_path / f"figures/{picture.name}.csv").read_text()
        table = list(csv.reader(io.StringIO(text)))
        assert table[0] == list(picture.columns)
        assert len(table) == len(picture.rows) + 1


def test_figures_into_a_file_are_refused(recorded: History, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(InputError, match="is a file; give a folder"):
        report.write_figures(recorded, tmp_path / "figures")


def test_a_campaign_keeps_all_its_files_and_gains_the_report_alone(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page and the frames beside it; the figures where they are asked for."""
    monkeypatch.setattr(report, "sections", lambda found: [figures.ledger(found)])  # one is enough

    def kept() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}

    before = kept()
    show_report(copy, figures=tmp_path / "figures")
    after = kept()
    assert {path: after[path] for path in before} == before
    assert {path.name for path in after.keys() - before} == {
        "report.html", "report.chemiscope.json.gz"
    }  # fmt: skip


def test_hills_that_were_changed_are_not_shown(copy: Path) -> None:
    path = copy / "bias/mil53_al/round-004.tsv"
    path.write_text(path.read_text().replace("1", "2", 1))
    found = history.read(copy)
    assert "mil53_al" not in found.biases
    assert any("is not what the journal holds" in problem for problem in found.problems)


FILES = ["rounds/002/frames-1.json", "rounds/001/segment/mil53_al-0.colvar", "campaign.yaml",
         "bias/mil53_al/round-004.tsv", "rounds/001/train/progress.jsonl"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [None, b"", b"\x00\xff{[1,2", b"[]\n", b'{"a": 1}\n'])
def test_what_cannot_be_read_is_named_and_the_rest_is_shown(
    copy: Path, name: str, content: bytes | None
) -> None:
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    found = history.read(copy)
    assert len(report.sections(found)[0].pictures) == 3
    if found.problems:
        assert verdict.judge(found).word == verdict.LOOK
        assert Path(name).name.split(".")[0] in " ".join(found.problems)
    else:  # an empty table is a table
        assert content in (b"", b"[]\n", b'{"a": 1}\n')


def test_the_page_says_what_could_not_be_read(copy: Path) -> None:
    (copy / "rounds/002/frames-1.json").write_bytes(b"\x00")
    text = Page(report.page(history.read(copy))).text
    assert "Result: look here" in text
    assert "frames-1.json" in text


def test_a_damaged_journal_is_an_error_and_no_report(copy: Path) -> None:
    lines = (copy / "journal.jsonl").read_text().splitlines(keepends=True)
    (copy / "journal.jsonl").write_text("".join([*lines[:5], *lines[6:]]))
    with pytest.raises(ParseError, match="journal"):
        history.read(copy)


def test_what_is_no_campaign_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a campaign directory"):
        history.read(tmp_path)


def test_a_campaign_that_has_only_bootstrapped(copy: Path) -> None:
    rewrite(copy, only_bootstrap)
    found = history.read(copy)
    text = Page(report.page(found)).text
    assert verdict.judge(found).word == verdict.GO_ON
    assert "this needs round 1" in text
    # the test set is out of sample for generation 0
    assert "test set" in text


@pytest.mark.parametrize("stages", [(), ("versions",), ("versions", "bootstrap", "label")])
def test_a_campaign_that_has_just_begun(copy: Path, stages: tuple[str, ...]) -> None:
    rewrite(copy, lambda records: [r for r in only_bootstrap(records) if r.stage in stages])
    if not stages:
        for path in (copy / "labels").iterdir():
            path.unlink()
    found = history.read(copy)
    text = Page(report.page(found)).text
    assert "Result: go on" in text
    assert "no round is finished yet" in text


def test_a_campaign_with_failures(copy: Path) -> None:
    rewrite(copy, with_failures)
    found = history.read(copy)
    page = report.page(found)
    text = Page(page).text
    judged = verdict.judge(found)
    assert judged.word == verdict.LOOK
    assert any("labels of round" in reason for reason in judged.reasons)
    assert any("stopped early" in reason for reason in judged.reasons)
    assert "3 not converged" in text
    assert "a force of 1e+05 eV/Å (limit 50) at step 7" in text
    assert "<script>alert(1)" not in page
    assert "<script>alert(1)</script>" in text


def broken(*, learned: bool) -> Callable[[Sequence[Record]], Sequence[Record]]:
    """A guard watched the bonds: one walker of the last round has lost one, and two labels."""

    def change(records: Sequence[Record]) -> Sequence[Record]:
        found, last = [], max(r.round for r in records)
        for record in records:
            outputs = dict(record.outputs)
            if record.stage == "segment":
                first, *rest = outputs["walkers"]
                if record.round == last:
                    first = {**first, "bond_change": "a broken bond, Al1–O22 of 3.70 Å"}
                outputs |= {"guarded": ["mil53_al"], "walkers": [first, *rest]}
            if record.task == f"evaluate generation {last} on round {last}":
                changed = ["a", "b"] if learned else []
                outputs["bonds"] = {"labels": 48, "checked": 48, "changed": changed}
            found.append(replace(record, outputs=outputs))
        return found

    return change


@pytest.mark.parametrize("learned", [True, False])
def test_walkers_and_labels_with_other_bonds(copy: Path, learned: bool) -> None:
    found = judged(copy, broken(learned=learned))
    text = Page(report.page(history.read(copy))).text
    assert "3 of 4" in text
    assert ("Labels with other bonds 2" in text) == learned
    assert any("walkers: 3 of 4 intact at the end of round 4" in one for one in found.reasons)
    assert any(one.startswith("to do: ") for one in found.reasons)
    first = "2 of the 48 labels of the training have other bonds than their start structure"
    assert (found.reasons[0] == first) == learned
    assert (found.word == verdict.LOOK) >= learned


def test_without_a_guard_the_page_says_that_nothing_was_checked(
    recorded: History, page: str
) -> None:
    text = Page(page).text
    assert "Bonds intact at the end of round 4 not checked" in text
    assert "Labels with other bonds not checked" in text
    assert not any("intact" in reason for reason in verdict.judge(recorded).reasons)


def judged(copy: Path, change: Callable[[Sequence[Record]], Sequence[Record]]) -> verdict.Verdict:
    rewrite(copy, change)
    return verdict.judge(history.read(copy))


def ended(*rules: str) -> Callable[[Sequence[Record]], Sequence[Record]]:
    """The campaign ended by these rules."""

    def change(records: Sequence[Record]) -> Sequence[Record]:
        last = max(r.round for r in records)
        kept = [r for r in records if r.stage not in ("stop", "end")]
        end = Record("end", "end", last, "", {"by": list(rules)}, 0.0, kept[-1].time)
        return [*tamed(kept), end]

    return change


def tamed(records: Sequence[Record], *errors: float) -> list[Record]:
    """Out-of-sample force errors of the rounds, which fall where none are given."""
    found = []
    for record in records:
        own = record.outputs.get("generation") == str(record.round)
        if record.stage == "evaluate" and record.round and not own and record.outputs["new"]:
            value = errors[record.round - 1] if errors else 400.0 / record.round
            new: dict[str, Any] = {**record.outputs["new"], "force_mae_meV_per_A": value,
                                   "force_rmse_meV_per_A": 1.3 * value}  # fmt: skip
            record = replace(record, outputs={**record.outputs, "new": new})
        found.append(record)
    return found


def test_goals_that_are_met_are_converged(copy: Path) -> None:
    found = judged(copy, ended("stop.errors", "stop.covered[0]"))
    assert found.word == verdict.CONVERGED
    assert "stop.errors" in found.reasons[0]


@pytest.mark.parametrize("later", [False, True])
def test_a_campaign_whose_last_model_is_being_made(copy: Path, later: bool) -> None:
    """The rules have judged the last round; nothing but its end is missing, or a round follows."""

    def change(records: Sequence[Record]) -> Sequence[Record]:
        kept = [r for r in tamed(records) if r.stage != "end"]
        last = max(r.round for r in kept if r.stage == "stop") - later
        return [
            replace(r, outputs={**r.outputs, "ended_by": ["stop.errors"]})
            if r.stage == "stop" and r.round == last
            else r
            for r in kept
            if r.stage != "stop" or r.round <= last
        ]

    found = judged(copy, change)
    assert found.word == verdict.GO_ON
    says = "its last model is being made; then it ends by stop.errors"
    assert (found.reasons[0] == says) != later


def test_a_budget_that_is_spent_is_not_converged(copy: Path) -> None:
    found = judged(copy, ended("stop.max_labels"))
    assert found.word == verdict.NOT_CONVERGED
    assert "before its goals were met" in found.reasons[0]


def test_rounds_that_are_done_are_no_reason_to_go_on(copy: Path) -> None:
    """The campaign has ended: what is not met, and which key asks for more."""
    found = verdict.judge(history.read(copy))
    assert found.word == verdict.NOT_CONVERGED
    assert found.reasons[0] == (
        "all 4 round(s) are done; not met: stop.errors, stop.covered[0]; "
        "to continue, increase rounds: above 4 and run the campaign again"
    )
    open_end = judged(
        copy, lambda records: [r for r in tamed(records) if r.stage not in ("stop", "end")]
    )
    assert open_end.word == verdict.GO_ON
    assert not any("are done" in reason for reason in open_end.reasons)


def test_rounds_that_are_done_without_goals(copy: Path) -> None:
    found = judged(copy, lambda records: [r for r in tamed(records) if r.stage != "stop"])
    assert found.word == verdict.NOT_CONVERGED
    assert "its errors have not converged" in found.reasons[0]


def test_the_final_model_stands_in_the_answer_and_in_the_numbers(recorded: History) -> None:
    final = next(g for g in recorded.state["generations"] if g["generation"] == "final")["test"]
    told = f"force MAE {final['force_mae_meV_per_A']:.0f} meV/Å"
    assert any(
        reason.startswith("generation final on the test set (30 frames)") and told in reason
        for reason in verdict.judge(recorded).reasons
    )
    groups = dict(report.number_groups(recorded))
    mine = dict(groups["Generation final on the test set (30 frames)"])
    assert mine["Force MAE"] == f"{final['force_mae_meV_per_A']:.0f} meV/Å"
    assert (
        dict(report._measured({**final, "force_zero_mae_meV_per_A": 671.2}))[
            "Force MAE of zero forces"
        ]
        == "671 meV/Å"
    )
    (curve,) = (p for p in report.sections(recorded)[0].pictures if p.name == "learning-forces")
    assert ("final", final["force_mae_meV_per_A"]) in [(row[1], row[3]) for row in curve.rows]


IMPORTED = """
campaign: given
rounds: 0
systems: {mil53_al: {structure: x.extxyz}}
bootstrap: {count: 0}
reference: {imported: {level_of_theory: "PBE, from a paper"}}
initial_data: {file: given.extxyz}
test_data: test.extxyz
"""


def given(records: Sequence[Record]) -> Sequence[Record]:
    """As a campaign that only trains on given data leaves its journal."""
    tasks = ("train generation 0", "deploy generation 0", "evaluate generation 0 on round 0")
    kept = [r for r in records if r.task in tasks]
    return [*kept, Record("end", "end", 0, "", {"by": ["rounds"]}, 0.0, kept[-1].time)]


def test_a_campaign_on_given_data_is_not_advised_to_walk(copy: Path) -> None:
    """It is refused rounds, and its test frames belong to no system."""
    (copy / "campaign.yaml").write_text(IMPORTED)
    rewrite(copy, given)
    found = history.read(copy)
    answer = verdict.judge(found)
    assert answer.word == verdict.FINISHED
    assert "generation 0 on the test set (30 frames): force MAE 108 meV/Å" in answer.reasons[0]
    assert not any(
        "increase rounds" in reason or "run again" in reason for reason in answer.reasons
    )
    sections = {section.name: section for section in report.sections(found)}
    (along,) = sections["along"].pictures
    assert len(along.rows) == 30
    assert "volume, Å³" in along.columns
    assert sections["parity"].pictures
    for name in ("along", "parity", "learning"):
        assert "No generation was evaluated" not in sections[name].how


def test_given_data_that_nothing_was_measured_on(copy: Path) -> None:
    (copy / "campaign.yaml").write_text(IMPORTED.replace("test_data: test.extxyz", ""))

    def untested(records: Sequence[Record]) -> Sequence[Record]:
        return [replace(r, outputs={**r.outputs, "test": None}) if r.stage == "evaluate" else r
                for r in given(records)]  # fmt: skip

    rewrite(copy, untested)
    assert (
        "no errors are known; give labelled frames" in verdict.judge(history.read(copy)).reasons[0]
    )


def test_an_error_that_grows_is_worth_a_look(copy: Path) -> None:
    found = judged(copy, lambda records: tamed(records, 300.0, 200.0, 100.0, 160.0))
    assert found.word == verdict.LOOK
    assert "from 100 to 160" in found.reasons[0]
    assert (
        judged(copy, lambda records: tamed(records, 300.0, 200.0, 100.0, 140.0)).word != "look here"
    )


def test_hills_that_are_missing_are_worth_a_look(copy: Path) -> None:
    def lose_one(records: Sequence[Record]) -> Sequence[Record]:
        text = json.dumps([r.outputs for r in tamed(records)])
        text = re.sub(
            r'"deposited": (\d+)', lambda m: f'"deposited": {int(m[1]) - 1}', text, count=1
        )
        return [replace(r, outputs=o) for r, o in zip(records, json.loads(text), strict=True)]

    found = judged(copy, lose_one)
    assert found.word == verdict.LOOK
    assert "hills were deposited, expected" in found.reasons[0]
