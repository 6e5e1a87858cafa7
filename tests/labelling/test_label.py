"""Labels that fail: what is tried again, how, and what the journal says of it."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms

from helpers.fakes import LEVEL, SALT, FakeLauncher, Watcher, crystal, label, write_campaign
from phasewalk.campaign import inputs
from phasewalk.campaign.tasks import Work
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.errors import ParseError
from phasewalk.jobs import Job
from phasewalk.labelling import label as labelling
from phasewalk.labelling.bootstrap import Frame, bootstrap_frames
from phasewalk.labels import label as labels
from phasewalk.store import directory
from phasewalk.store.records import EARLIER, FAILED, KIND
from phasewalk.store.records_names import label_task

RETRIES = SALT + "reference: {xtb: {retries: [{max_iterations: 900}, {mixer_damping: 0.1}]}}\n"
GOOD, CRASHED, UNCONVERGED, TIME_LIMIT = 0, 1, 3, None


def at(shift: float) -> Atoms:
    atoms = crystal()
    atoms.positions[0, 0] += shift
    return atoms


def frame(shift: float = 0.1) -> Frame:
    return Frame(at(shift), "salt", {"system": "salt", "round": 1, "walker": "salt-0"})


def open_work(folder: Path, text: str = RETRIES) -> Work:
    folder.mkdir(exist_ok=True)
    campaign = inputs.load(write_campaign(folder, text))
    found = discovery.find(EngineSettings(), {"PHASEWALK_CACHE": str(folder / "cache")})
    opened = directory.open_campaign(folder / "run", campaign.identity())
    return Work(campaign, opened, FakeLauncher(), found, Watcher())


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    found = open_work(tmp_path)
    with closing(found.store):
        yield found


def answers(work: Work, *codes: int | None, **changes: Any) -> list[dict[str, Any]]:
    """The reference ends with these codes, one after the other; what it was asked."""
    waiting, asked = list(codes), []

    def play(job: Job) -> int | None:
        asked.append(json.loads(job.inputs["request.json"])["arguments"])
        code = waiting.pop(0)
        if code != GOOD:
            (job.directory / "stderr.txt").write_text("RuntimeError: it failed\n")
            return code
        made = label()
        answer = {
            "energy_eV": made.energy,
            "forces_eV_per_A": made.forces.tolist(),
            "stress_eV_per_A3": made.stress.tolist(),
            "seconds": 0.1,
            "version": LEVEL.version,
        }
        (job.directory / "result.json").write_text(json.dumps({**answer, **changes}))
        return code

    work.launcher.play = play  # type: ignore[attr-defined]
    return asked


def outputs(work: Work, shift: float = 0.1) -> Any:
    key = labels.label_key(at(shift), LEVEL)
    record = work.store.find(label_task(key, 1))
    assert record is not None
    return record.outputs


def test_what_does_not_converge_is_tried_as_declared(work: Work) -> None:
    asked = answers(work, UNCONVERGED, UNCONVERGED, GOOD)
    (made,) = labelling.label_proposals(work, 1, [[frame()]])
    assert [one["max_iterations"] for one in asked] == [250, 900, 250]
    assert asked[2]["mixer_damping"] == 0.1
    assert made.made["try"] == 3
    assert made.made["changes"] == {"mixer_damping": 0.1}
    earlier = outputs(work)[EARLIER]
    assert len(earlier) == 2
    assert all(one["seconds"] == 0.5 and one["cores"] == 1 for one in earlier)
    assert work.observer.lines[0].endswith("; it is tried again")  # type: ignore[attr-defined]
    place = work.store.root / outputs(work)["place"]
    assert sorted(path.name for path in place.parent.iterdir()) == [
        place.name,
        f"{place.name}.failed-1",
        f"{place.name}.failed-2",
    ]


def test_a_label_that_never_converges_is_given_up_for_good(work: Work) -> None:
    asked = answers(work, *[UNCONVERGED] * 3)
    assert labelling.label_proposals(work, 1, [[frame()]]) == []
    assert outputs(work)[KIND] == "not converged"
    assert len(asked) == 3
    assert labelling.label_proposals(work, 1, [[frame()]]) == []
    assert len(asked) == 3


def test_a_time_limit_is_tried_again_by_a_later_run_alone(work: Work) -> None:
    asked = answers(work, TIME_LIMIT, GOOD)
    assert labelling.label_proposals(work, 1, [[frame()]]) == []
    assert outputs(work)[KIND] == "time limit"
    assert len(labelling.label_proposals(work, 1, [[frame()]])) == 1
    assert len(asked) == 2
    assert FAILED in outputs(work)[EARLIER][0]


def test_a_result_that_is_refused_is_not_asked_for_again(work: Work) -> None:
    asked = answers(work, GOOD, forces_eV_per_A=[[99.0, 0, 0], [-99.0, 0, 0], *[[0, 0, 0]] * 6])
    assert labelling.label_proposals(work, 1, [[frame()]]) == []
    assert (outputs(work)[KIND], len(asked)) == ("refused", 1)
    assert "exceeds 30" in outputs(work)[FAILED]


def test_a_limit_that_is_mended_judges_again_what_was_computed(tmp_path: Path) -> None:
    forces = [[40.0, 0, 0], [-40.0, 0, 0], *[[0, 0, 0]] * 6]
    first = open_work(tmp_path)
    asked = answers(first, GOOD, forces_eV_per_A=forces)
    with closing(first.store):
        assert labelling.label_proposals(first, 1, [[frame()]]) == []
        assert labelling.label_proposals(first, 1, [[frame()]]) == []  # the limit is as before
    assert len(asked) == 1
    text = SALT + "reference: {max_force_eV_per_A: 50}\n"
    second = open_work(tmp_path, text)
    more = answers(second)
    with closing(second.store):
        (made,) = labelling.label_proposals(second, 1, [[frame()]])
    assert (made.forces[0, 0], more) == (40.0, [])


def test_a_kill_between_two_tries_loses_none(tmp_path: Path) -> None:
    first = open_work(tmp_path)
    asked = answers(first, UNCONVERGED)  # and then the driver is killed
    with closing(first.store), pytest.raises(IndexError):
        labelling.label_proposals(first, 1, [[frame()]])
    second = open_work(tmp_path)
    more = answers(second, GOOD)
    with closing(second.store):
        (made,) = labelling.label_proposals(second, 1, [[frame()]])
    assert (len(asked), len(more), made.made["try"]) == (2, 1, 2)


def test_a_kill_between_a_label_and_its_record_does_not_lose_its_hash(tmp_path: Path) -> None:
    first = open_work(tmp_path)
    with closing(first.store):
        answers(first, GOOD)
        (made,) = labelling.label_proposals(first, 1, [[frame()]])
        recorded = first.store.recorded()
        first.store.replace([r for r in first.store.records() if r.stage != "label"])
    second = open_work(tmp_path)
    asked = answers(second)
    with closing(second.store):
        labelling.label_proposals(second, 1, [[frame()]])
        assert asked == []
        place = f"labels/{made.key}.json"
        assert second.store.recorded()[place] == recorded[place]


def test_half_of_the_labels_done_the_other_half_is_computed(tmp_path: Path) -> None:
    frames = [[frame(0.1)], [frame(0.2)], [frame(0.3)], [frame(0.4)]]
    first = open_work(tmp_path)
    answers(first, GOOD, GOOD)
    with closing(first.store), pytest.raises(IndexError):
        labelling.label_proposals(first, 1, frames)
    second = open_work(tmp_path)
    asked = answers(second, GOOD, GOOD)
    with closing(second.store):
        assert len(labelling.label_proposals(second, 1, frames)) == 4
    assert len(asked) == 2


def test_labels_are_counted_as_they_are_done_and_as_they_fail(work: Work) -> None:
    answers(work, GOOD, TIME_LIMIT, UNCONVERGED, GOOD)
    frames = [[frame(shift)] for shift in (0.1, 0.11, 0.12)]
    assert len(labelling.label_proposals(work, 1, frames)) == 2
    assert isinstance(work.observer, Watcher)
    told = [
        (done, seen.numbers["failed"])
        for done, seen in zip(work.observer.advanced, work.observer.seen, strict=True)
    ]
    assert list(dict.fromkeys(told)) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 1)]


def shared_work(folder: Path, text: str = SALT) -> Work:
    """A campaign whose cache is shared with those beside it."""
    folder.mkdir()
    campaign = inputs.load(write_campaign(folder, text))
    found = discovery.find(EngineSettings(), {"PHASEWALK_CACHE": str(folder.parent / "cache")})
    opened = directory.open_campaign(folder / "run", campaign.identity())
    return Work(campaign, opened, FakeLauncher(), found, Watcher())


def labelled(work: Work, energy: float, shifts: tuple[float, ...] = (0.1, 0.2, 0.3)) -> list[float]:
    """Energies of the labels of some frames, where the reference says one energy for all."""
    answers(work, *[GOOD] * len(shifts), energy_eV=energy)
    proposals = [[frame(shift)] for shift in shifts]
    with closing(work.store):
        return [one.energy for one in labelling.label_proposals(work, 1, proposals)]


def test_one_shared_label_is_computed_again_before_the_others_are_used(tmp_path: Path) -> None:
    assert labelled(shared_work(tmp_path / "one"), -24.0) == [-24.0] * 3
    other = shared_work(tmp_path / "two")
    assert labelled(other, -24.002) == [-24.002, -24.0, -24.0]
    assert len(other.launcher.jobs) == 1  # type: ignore[attr-defined]
    lines = other.observer.lines  # type: ignore[attr-defined]
    assert "one of them, recomputed, differs by up to 0.25 meV/atom" in lines[0]


def test_a_lie_of_one_campaign_is_no_label_of_another(tmp_path: Path) -> None:
    """−1 eV/atom under the name of the same level of theory, as a stub once put it there."""
    labelled(shared_work(tmp_path / "stub"), -32.0)
    other = shared_work(tmp_path / "good")
    assert labelled(other, -24.0) == [-24.0] * 3
    assert len(other.launcher.jobs) == 3  # type: ignore[attr-defined]
    (line,) = other.observer.lines  # type: ignore[attr-defined]
    assert "differs by up to 1e+03 meV/atom" in line
    assert "(limit 2 meV/atom): none of them are used" in line


STUB = SALT + "reference: {{command: [python3, {stub}, --shift, '1']}}\n"


def test_a_command_of_one_s_own_is_part_of_the_level_with_its_script(tmp_path: Path) -> None:
    stub, plain = tmp_path / "stub.py", shared_work(tmp_path / "plain")
    stub.write_text("#!/usr/bin/python3\nprint(1)\n")
    own = shared_work(tmp_path / "own", STUB.format(stub=stub))
    settings = own.campaign.reference.method.settings
    assert settings["reference.command"] == ["python3", "stub.py", "--shift", "1"]
    assert plain.campaign.reference.method.method == LEVEL.method
    stub.write_text("#!/opt/other/python3\nprint(1)\n")
    moved = shared_work(tmp_path / "moved", STUB.format(stub=stub))
    assert moved.campaign.reference.method == own.campaign.reference.method
    stub.write_text("#!/usr/bin/python3\nprint(2)\n")
    changed = shared_work(tmp_path / "changed", STUB.format(stub=stub))
    assert changed.campaign.reference.method.method != own.campaign.reference.method.method
    assert labelled(own, -32.0) == [-32.0] * 3
    assert labelled(plain, -24.0) == [-24.0] * 3
    for work in (moved, changed):
        work.store.close()


def test_a_launcher_before_phasewalk_s_own_child_is_no_other_level(tmp_path: Path) -> None:
    text = SALT + "reference: {command: [env, -i, python3, -m, phasewalk.reference]}\n"
    with closing((work := shared_work(tmp_path / "own", text)).store):
        assert work.campaign.reference.method.method == LEVEL.method
        assert work.campaign.reference.shares


def drawn(folder: Path, bootstrap: str, *, trained: bool = False) -> list[Frame]:
    """The frames of round 0 with these settings of the bootstrap."""
    work = open_work(folder, f"{RETRIES}bootstrap: {{{bootstrap}}}\n")
    with closing(work.store):
        if trained:
            work.note("train generation 0", "train", 0, {})
        return bootstrap_frames(work)


def test_the_bootstrap_may_change_until_generation_0_is_trained(tmp_path: Path) -> None:
    """Nothing is paid twice: those that both have are the same frames."""
    eight = drawn(tmp_path, "count: 8")
    ten = drawn(tmp_path, "count: 10")
    assert [len(eight), len(ten)] == [8, 10]
    assert all(a.atoms == b.atoms for a, b in zip(eight, ten, strict=False))
    strained = drawn(tmp_path, "count: 10, strain: 0.11")
    assert strained[0].atoms != ten[0].atoms
    kept = drawn(tmp_path, "count: 12", trained=True)
    assert [one.atoms for one in kept] == [one.atoms for one in strained]


def test_a_digit_in_a_frame_of_an_old_journal_is_found_by_its_labels(tmp_path: Path) -> None:
    """Without a hash of the frames, the addresses of their labels tell."""
    work = open_work(tmp_path, f"{RETRIES}bootstrap: {{count: 8}}\n")
    with closing(work.store):
        frames = bootstrap_frames(work)
        for one in frames:
            key = labels.label_key(one.atoms, work.campaign.level(one.system))
            work.note(label_task(key, 0), "label", 0, {"key": key, "origin": {}})
        work.note("train generation 0", "train", 0, {})
        outputs = {"frames": 8}  # as an earlier version wrote it
        old = [
            replace(r, outputs=outputs) if r.task == "bootstrap" else r
            for r in work.store.records()
        ]
        work.store.replace(old)
        assert len(bootstrap_frames(work)) == 8
        path = work.store.root / "rounds/000/frames.json"
        data = json.loads(path.read_text())
        data[1]["frame"]["positions_A"][0][0] += 1e-3
        path.write_text(json.dumps(data))
        with pytest.raises(ParseError, match="frame 2 does not match any label of the journal"):
            bootstrap_frames(work)
