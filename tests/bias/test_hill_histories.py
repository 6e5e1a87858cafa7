"""The file of earlier hills that all walkers link: it grows by the hills of each round."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.fakes import FakeLauncher, Watcher, write_campaign
from phasewalk.bias import hill_tables, sharing
from phasewalk.bias import hills as bias
from phasewalk.bias.hill_tables import HillsTable
from phasewalk.bias.hills import Cut, Hill, HillsRecord
from phasewalk.bias.sharing import History
from phasewalk.campaign import inputs
from phasewalk.campaign.tasks import Work
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.files import hash_of, write_file
from phasewalk.generations.deploy import Generation
from phasewalk.rounds import explore, reopen, steer
from phasewalk.rounds.decision import GOOD, Decision
from phasewalk.store import directory
from phasewalk.store.records import Record
from phasewalk.structures.structure import fingerprint

CAMPAIGN = """\
campaign: salt
systems:
  salt:
    structure: salt.extxyz
    walkers: 2
    bias_sharing: merged
    plumed: |
      v: DISTANCE ATOMS=1,2
      m: METAD ARG=v SIGMA=1 HEIGHT=1 PACE=10
      n: METAD ARG=v SIGMA=2 HEIGHT=1 PACE=10
"""
WALKERS = ("salt-0", "salt-1")
DATA = Path(__file__).parents[1] / "data"
HEADERS = dict.fromkeys("mn", ("#! FIELDS time v sigma_v height biasf",))


@pytest.fixture(params=["merged", "own"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Work]:
    text = CAMPAIGN.replace("merged", request.param)
    campaign = inputs.load(write_campaign(tmp_path, text))
    found = discovery.find(EngineSettings(), {})
    opened = directory.open_campaign(tmp_path / "run", campaign.identity())
    with closing(opened):
        yield Work(campaign, opened, FakeLauncher(), found, Watcher())


def hills(round_: int) -> list[Hill]:
    """Two hills of each walker and action; the second action begins in round 2."""
    return [
        Hill("salt", action, walker, round_, step, 0, True, f" {step} 1.{index} {action * 0}1 2 -1")
        for action in ("m", "n")[: 1 + (round_ > 1)]
        for step in (20 * round_ - 10, 20 * round_)
        for index, walker in enumerate(WALKERS)
    ]


def decisions(round_: int) -> list[Decision]:
    """Where walkers go on from: in round 2, and in round 4, the first one's last hill is cut."""
    cut = 20 * round_ - 30 if round_ in (2, 4) else 20 * round_ - 20
    return [Decision("salt-0", GOOD, "", cut), Decision("salt-1", GOOD, "", 20 * round_ - 20)]


def walked(work: Work, round_: int) -> History:
    """A round: its walkers begin with the hills of those before, and lay new ones."""
    begun = steer.history(work, "salt", round_, decisions(round_))
    laid = bias.merge(HillsRecord("salt", begun.headers), hills(round_), headers=HEADERS)
    marks = {key: file.mark for key, file in begun.files.items()}
    table = HillsTable(laid, begun.earlier, begun.cuts, marks, begun.apart)
    kept(work, round_, hill_tables.to_text(table))
    return begun


def kept(work: Work, round_: int, text: str) -> None:
    work.store.keep(steer.hills_file("salt", round_), text.encode())
    work.store.append(Record(f"segment {round_}", "segment", round_, "", {}, 1.0, 0.0))


def due(work: Work, round_: int) -> dict[str, str]:
    """The hills before a round as files, from what was laid."""
    everything = [hill for earlier in range(1, round_) for hill in hills(earlier)]
    record = bias.merge(HillsRecord("salt"), everything, headers=HEADERS if round_ > 1 else {})
    cuts = [Cut("salt-0", 1, 10), Cut("salt-0", 3, 50)]
    record = bias.deactivate(record, [cut for cut in cuts if cut.round < round_])
    apart = work.campaign.settings.systems["salt"].bias_sharing == "own"
    return sharing.texts(record, apart=apart)


def texts(history: History) -> dict[str, str]:
    for file in history.files.values():
        assert file.path.stat().st_size == file.mark.size
    return {key: file.path.read_text() for key, file in history.files.items()}


def test_the_files_grow_round_by_round(work: Work) -> None:
    for round_ in (1, 2, 3, 4, 5):
        begun = walked(work, round_)
        assert texts(begun) == due(work, round_)
        assert begun.earlier == sum(len(hills(n)) for n in range(1, round_))
    record = steer.hills(work, "salt", 6, [])
    assert len(record.hills) == sum(len(hills(n)) for n in range(1, 6))
    cut = [(h.action, h.round, h.step, h.walker) for h in record.hills if not h.active]
    assert cut == [("m", 1, 20, "salt-0"), ("m", 3, 60, "salt-0"), ("n", 3, 60, "salt-0")]


def test_a_round_that_is_begun_again_changes_no_file(work: Work) -> None:
    """Not even its time: what walkers have linked stays as it is."""
    for round_ in (1, 2, 3):
        walked(work, round_)
    first = steer.history(work, "salt", 4, decisions(4))
    stamps = [file.path.stat().st_mtime_ns for file in first.files.values()]
    assert steer.history(work, "salt", 4, decisions(4)) == first
    assert [file.path.stat().st_mtime_ns for file in first.files.values()] == stamps


SPOILED: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_text(path.read_text()[:-30]),
    "changed": lambda path: path.write_text(path.read_text().replace("1.0", "9.9", 1)),
    "killed while it grew": lambda path: path.write_text(path.read_text() + " 70 1.0"),
    "of a later round": lambda path: path.write_text(path.read_text() + " 70 1.0 1 2 -1\n"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_damaged_file_is_made_again(work: Work, how: str) -> None:
    for round_ in (1, 2, 3):
        begun = walked(work, round_)
    SPOILED[how](next(iter(begun.files.values())).path)
    assert texts(steer.history(work, "salt", 4, decisions(4))) == due(work, 4)


def test_after_a_rewind_the_files_are_those_of_that_round(work: Work) -> None:
    for round_ in (1, 2, 3, 4):
        walked(work, round_)
    work.store.replace([r for r in work.store.records() if r.round <= 2])
    assert texts(walked(work, 3)) == due(work, 3)
    assert texts(walked(work, 4)) == due(work, 4)


def test_rounds_of_an_earlier_version_are_gone_on_with(work: Work) -> None:
    """Their tables hold all hills; those of rounds after them follow."""
    for round_ in (1, 2, 3):
        record = steer.hills(work, "salt", round_, decisions(round_))
        kept(work, round_, bias.record_to_text(bias.merge(record, hills(round_), headers=HEADERS)))
    for round_ in (4, 5):
        assert texts(walked(work, round_)) == due(work, round_)
    assert len(steer.hills(work, "salt", 6, []).hills) == sum(len(hills(n)) for n in range(1, 6))


def test_walkers_that_share_hills_from_now_on(work: Work) -> None:
    for round_ in (1, 2, 3):
        walked(work, round_)
    settings = work.campaign.settings
    other = {"merged": "own", "own": "merged"}[settings.systems["salt"].bias_sharing]
    salt = settings.systems["salt"].model_copy(update={"bias_sharing": other})
    changed = settings.model_copy(update={"systems": {"salt": salt}})
    work = replace(work, campaign=replace(work.campaign, settings=changed))
    assert texts(walked(work, 4)) == due(work, 4)
    assert texts(walked(work, 5)) == due(work, 5)


def model(number: int, checkpoint: str) -> Generation:
    """A generation of which only this is known."""
    values: dict[str, Any] = {
        **{"checkpoint": Path("c"), "deployed": Path("d"), "deployed_hash": ""},
        "stamp": SimpleNamespace(device="cpu"),
        **{"number": number, "name": str(number), "checkpoint_hash": checkpoint, "again": False},
    }
    return Generation(**values, unproved_graph=False)


def test_a_segment_of_an_earlier_version_is_not_walked_again(work: Work) -> None:
    """Its inputs were hashed with the text of all hills."""
    generation = model(1, "a hash")
    for round_ in (1, 2):
        walked(work, round_)
    plan, why = explore.segment_plan(work, 3, generation)
    now = explore.inputs_hash(work, plan, why, "a hash")
    where = [(w.id, w.step, fingerprint(w.atoms)) for w in plan.walkers]
    text = bias.record_to_text(steer.hills(work, "salt", 3, why))
    before = hash_of("segment", "a hash", where, {"salt": text})
    assert now != before
    for told in (before, now):
        work.store.append(Record("segment 3", "segment", 3, told, {}, 1.0, 0.0))
        assert explore.inputs_hash(work, plan, why, "a hash") == told
    work.store.append(Record("segment 3", "segment", 3, "of others", {}, 1.0, 0.0))
    assert explore.inputs_hash(work, plan, why, "a hash") == now
    write_file(work.store.root / steer.hills_file("salt", 1), b"not read for the hash")
    work.store.append(Record("segment 3", "segment", 3, now, {}, 1.0, 0.0))
    assert explore.inputs_hash(work, plan, why, "a hash") == now


def test_no_segment_of_a_recorded_campaign_is_walked_again() -> None:
    """An earlier version walked its four rounds."""
    opened = directory.read_campaign(DATA / "mil53_al.run")
    found = discovery.find(EngineSettings(), {})
    work = Work(reopen.read_inputs(opened), opened, FakeLauncher(), found, Watcher())
    for round_ in (1, 2, 3, 4):
        record = opened.find(f"segment {round_}")
        assert record is not None
        number = record.outputs["generation"]
        trained = opened.find(f"train generation {number}")
        assert trained is not None
        checkpoint = trained.files[f"models/gen-{number:03d}/checkpoint.ckpt"]
        plan, why = explore.segment_plan(work, round_, model(number, checkpoint))
        assert explore.inputs_hash(work, plan, why, checkpoint) == record.inputs
