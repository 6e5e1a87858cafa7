"""Where walkers go on from, which hills count then, and which frames get a label."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.fakes import FakeLauncher, Watcher, crystal, label
from helpers.outputs import whole
from helpers.walked import (
    CAMPAIGN,
    FRAMES,
    STEPS,
    after_round,
    at,
    first_decision,
    key_of,
    labelled,
    open_work,
    walked,
)
from phasewalk.bias import hills as bias
from phasewalk.bias.hills import Hill, HillsRecord
from phasewalk.campaign.tasks import Work
from phasewalk.errors import ParseError
from phasewalk.jobs import Job
from phasewalk.labelling import label as labelling
from phasewalk.labelling.bootstrap import Frame
from phasewalk.rounds import decision, proposals, steer
from phasewalk.store.records import Record
from phasewalk.walkers.near_frames import NearFrames


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    found = open_work(tmp_path)
    with closing(found.store):
        yield found


def wrong_by(work: Work, ratio: float) -> None:
    """The model that drove the first walker, on its frame."""
    each = [{"walker": "salt-0", "force_error_ratio": ratio}]
    name = "evaluate generation 0 on round 1"
    work.store.append(whole(Record(name, "evaluate", 1, "", {"each": each}, 1.0, 0.0)))


def test_in_the_first_round_all_are_new(work: Work) -> None:
    standing, decisions = steer.stand(work, 1)
    assert [(w.id, w.step) for w in standing] == [("salt-0", 0), ("salt-1", 0)]
    assert {one.source for one in decisions} == {"new"}


def test_from_the_last_good_frame_with_its_velocities(work: Work) -> None:
    moving = at(0.4)
    moving.set_velocities(np.full((8, 3), 0.25))
    after_round(work, frames=[(400, moving), *FRAMES[1:]])
    labelled(work, moving)
    decision, walker = first_decision(work)
    assert (decision.source, decision.step, decision.why) == ("good", 400, "its last good frame")
    assert (walker.step, walker.id) == (400, "salt-0")
    assert np.array_equal(walker.atoms.positions, moving.positions)
    assert np.allclose(walker.atoms.get_velocities(), 0.25)


def test_no_good_frame_means_the_start_structure(work: Work) -> None:
    after_round(work)
    standing, decisions = steer.stand(work, 2)
    assert (decisions[1].source, standing[1].step) == ("start", 400)
    assert not standing[1].atoms.has("momenta")
    assert np.array_equal(standing[1].atoms.positions, crystal().positions)


@pytest.mark.parametrize(("reason", "source"), [("plumed stop", "start"), ("walltime", "good")])
def test_where_plumed_ended_it_the_next_round_begins_at_the_start(
    work: Work, reason: str, source: str
) -> None:
    """In its basin a COMMITTOR would end it at once; its hills up to its frame count."""
    after_round(work)
    walked(work, {}, stop=reason)
    labelled(work, FRAMES[0][1])
    decision, _ = first_decision(work)
    assert (decision.source, decision.step) == (source, 400)


def test_a_walker_begins_with_the_bonds_of_its_start_structure(tmp_path: Path) -> None:
    """Its last frame was good by all else, as in a round without a guard."""
    apart = at(0.0)
    apart.positions[1] = apart.positions[0] + [1.9, 0, 0]
    for number, text in enumerate(("", "{bonds: free, ", "{bonds: auto, ")):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = CAMPAIGN.replace("{", text or "{", 1)
        work = open_work(folder, campaign=changed)
        with closing(work.store):
            after_round(work, frames=[(400, apart)])
            labelled(work, apart)
            decision, walker = first_decision(work)
            if text == "{bonds: free, ":
                assert (decision.source, decision.step) == ("good", 400)
                continue
            assert (decision.source, decision.step) == ("start", 400)
            assert decision.why.startswith("Na1–Cl2 are 1.90 Å apart")
            assert np.array_equal(walker.atoms.positions, crystal().positions)


def test_velocities_of_a_breakdown_are_not_kept(work: Work) -> None:
    moving = at(0.4)
    moving.set_velocities(np.full((8, 3), 0.25))
    after_round(work, frames=[(400, moving)], broke=True)
    _, walker = first_decision(work)
    assert np.array_equal(walker.atoms.positions, moving.positions)
    assert not walker.atoms.has("momenta")


def test_from_the_older_frame_whose_label_did_not_fail(work: Work) -> None:
    after_round(work)
    labelled(work, FRAMES[0][1], failed=True)
    labelled(work, FRAMES[1][1])
    decision, walker = first_decision(work)
    assert (decision.source, decision.step) == ("good", 300)
    assert decision.why == "its good frame 2 from the last"
    assert np.array_equal(walker.atoms.positions, FRAMES[1][1].positions)


@pytest.mark.parametrize("policy", ["before", "start"])
def test_where_all_labels_failed(tmp_path: Path, policy: str) -> None:
    work = open_work(tmp_path, f"policy: {{after_failed_label: {policy}}}\n")
    after_round(work)
    for _, atoms in FRAMES:
        labelled(work, atoms, failed=True)
    decision, walker = first_decision(work)
    assert (decision.source, decision.step) == (policy, 0)
    assert decision.why == "3 of its frames could not be labelled"
    assert np.array_equal(walker.atoms.positions, at(0.0).positions)
    work.store.close()


@pytest.mark.parametrize(
    ("limit", "ratio", "source"),
    [("1.0", 0.9, "good"), ("1.0", 1.1, "start"), ("0.5", 0.9, "start"), ("null", 9.0, "good")],
)
def test_reset_where_the_model_knew_nothing(
    tmp_path: Path, limit: str, ratio: float, source: str
) -> None:
    work = open_work(tmp_path, f"policy: {{max_force_error_ratio: {limit}}}\n")
    after_round(work)
    labelled(work, FRAMES[0][1])
    wrong_by(work, ratio)
    decision, _ = first_decision(work)
    assert (decision.source, decision.step) == (source, 400)
    assert decision.force_error_ratio == ratio
    work.store.close()


@pytest.mark.parametrize("policy", ["good", "before", "start"])
def test_after_a_breakdown(tmp_path: Path, policy: str) -> None:
    work = open_work(tmp_path, f"policy: {{after_breakdown: {policy}}}\n")
    after_round(work, broke=True)
    labelled(work, FRAMES[0][1])
    decision, walker = first_decision(work)
    assert decision.source == policy
    assert "it broke down" in decision.why
    expected = FRAMES[0][1] if policy == "good" else at(0.0)
    assert np.array_equal(walker.atoms.positions, expected.positions)
    work.store.close()


def test_hills_after_the_frame_that_counts_do_not(work: Work) -> None:
    hills = tuple(
        Hill("salt", "m", walker, 1, step, 0, True, f"{step} 1 2 3 4")
        for step in (100, 200, 300, 400)
        for walker in ("salt-0", "salt-1")
    )
    headers = {"m": ("#! FIELDS time v sigma_v height biasf",)}
    text = bias.record_to_text(HillsRecord("salt", headers, hills))
    walked(work, {"bias/salt/round-001.tsv": text})
    after_round(work)
    labelled(work, FRAMES[0][1], failed=True)
    labelled(work, FRAMES[1][1])
    _, decisions = steer.stand(work, 2)
    record = steer.hills(work, "salt", 2, decisions)
    inactive = [(hill.walker, hill.step) for hill in record.hills if not hill.active]
    assert inactive == [("salt-0", 400)]


@pytest.mark.parametrize("name", ["rounds/001/walkers.json", "bias/salt/round-001.tsv"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "is missing, but the journal holds it; restore it"),
        (lambda path: path.write_text(path.read_text() + " "), "is not what the journal holds"),
        (lambda path: path.write_text(""), "is not what the journal holds"),
    ],
    ids=["missing", "changed", "empty"],
)
def test_what_a_round_left_is_used_whole_or_not_at_all(
    work: Work, name: str, spoil: Callable[[Path], object], says: str
) -> None:
    after_round(work)
    walked(work, {"bias/salt/round-001.tsv": bias.record_to_text(HillsRecord("salt"))})
    spoil(work.store.root / name)
    with pytest.raises(ParseError, match=says) as caught:
        steer.hills(work, "salt", 2, steer.stand(work, 2)[1])
    assert name in str(caught.value)


def test_decisions_are_journalled_once_and_resets_are_said(work: Work) -> None:
    after_round(work, broke=True)
    _, decisions = steer.stand(work, 2)
    decision.note(work, 2, decisions)
    decision.note(work, 2, decisions)
    (record,) = (r for r in work.store.records() if r.stage == "steer")
    assert [entry["source"] for entry in record.outputs["walkers"]] == ["good", "start"]
    assert isinstance(work.observer, Watcher)
    assert work.observer.lines == [
        "salt-0 continues from its last good frame, with new velocities: it broke down",
        "salt-1 continues from the start structure: no frame of its last round was good",
    ]


def reference(fails: set[str]) -> Any:
    """Plays the reference; the frames with these keys do not converge."""

    def play(job: Job) -> int:
        key = job.name.removeprefix("label ")
        if key in fails:
            (job.directory / "stderr.txt").write_text("RuntimeError: SCF not converged\n")
            return 1
        made = label(crystal())
        answer = {
            "energy_eV": made.energy,
            "forces_eV_per_A": made.forces.tolist(),
            "stress_eV_per_A3": made.stress.tolist(),
            "seconds": 0.1,
        }
        (job.directory / "result.json").write_text(json.dumps(answer))
        return 0

    return play


def frames_of(walker: str) -> list[Frame]:
    origin = {"system": "salt", "round": 1, "walker": walker}
    shift = 0.001 if walker == "salt-1" else 0.0
    return [Frame(at(step / 1000 + shift), "salt", {**origin, "step": step}) for step in STEPS]


def test_a_failed_label_is_tried_with_the_next_good_frame(work: Work) -> None:
    one, two = frames_of("salt-0"), frames_of("salt-1")
    fails = {key_of(work, frame.atoms) for frame in (one[0], *two)}
    assert isinstance(work.launcher, FakeLauncher)
    work.launcher.play = reference(fails)
    made = labelling.label_proposals(work, 1, [one, two])
    assert [label.origin["step"] for label in made] == [300]
    tried = [job.name.removeprefix("label ") for job in work.launcher.jobs]
    assert tried == [key_of(work, f.atoms) for f in (one[0], two[0], one[1], two[1], two[2])]


def test_what_was_labelled_is_not_proposed_again(work: Work) -> None:
    after_round(work)
    known = NearFrames.of([FRAMES[0][1]])
    assert proposals.proposals(work, 1, known) == []
    (frames,) = proposals.proposals(work, 1, NearFrames())
    assert [frame.origin["step"] for frame in frames] == list(STEPS)


def test_a_temperature_that_rises() -> None:
    from phasewalk.walkers.segment import SystemSettings

    ramp = {"from_K": 100, "rounds": 4}
    system = SystemSettings.model_validate(
        {"structure": "a", "temperature_K": 300, "temperature_ramp": ramp}
    )
    assert [system.temperature_in(n) for n in (1, 2, 4, 5, 9)] == [100, 150, 250, 300, 300]
