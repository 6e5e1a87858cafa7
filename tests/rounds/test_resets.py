"""Which errors of the model on a walker's frame send it back, and which hills it loses."""

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import fake_campaign
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from helpers.fakes import crystal
from helpers.outputs import whole
from helpers.walked import FRAMES, after_round, first_decision, labelled, open_work, walked
from phasewalk.bias import Frame, hill_tables
from phasewalk.campaign import Work, begun
from phasewalk.generations import known
from phasewalk.jobs import Job
from phasewalk.rounds import decision as noting
from phasewalk.rounds import explore, rewinding, steer
from phasewalk.rounds.decision import Decision
from phasewalk.store import Store, read_campaign
from phasewalk.store.records import Record
from phasewalk.structures import bonds
from phasewalk.walkers import (
    Candidate,
    FrameError,
    HoldOutSettings,
    PolicySettings,
    Stop,
    WalkerResult,
    policy,
)

LIMITS = PolicySettings().limits()


@pytest.mark.parametrize(
    ("energy", "force", "ratio", "kind"),
    [
        (19.9, 900.0, 0.9, None),
        (-20.1, 100.0, 0.1, "energy error"),
        (20.1, 100.0, 0.1, "energy error"),
        (0.0, 900.0, 1.1, "force error"),
        (None, None, 0.5, None),
        (None, None, None, None),
    ],
)
def test_limits_by_default(
    energy: float | None, force: float | None, ratio: float | None, kind: str | None
) -> None:
    found = policy.reset(FrameError(energy, force, ratio), LIMITS)
    assert (found and found.kind) == kind


def test_a_limit_on_the_force_itself() -> None:
    limits = PolicySettings(max_force_error_meV_per_A=200.0).limits()
    found = policy.reset(FrameError(1.0, 201.0, 0.2), limits)
    assert found is not None
    assert found.says == "the model's force RMSE on its frame was 201 meV/Å (limit 200)"
    assert policy.reset(FrameError(1.0, 199.0, 0.2), limits) is None


def test_what_is_held_out_has_limits_of_its_own() -> None:
    rule = HoldOutSettings()
    assert policy.held_out(FrameError(25.0, 500.0, 2.0), rule) is None
    assert policy.held_out(FrameError(-31.0, 500.0, 0.1), rule) is not None
    assert policy.held_out(FrameError(None, 601.0, 0.1), rule) is not None


def judged(folder: Path, energy: float | None, *, limits: Any, more: str = "") -> Decision:
    """The decision on a walker whose frame of round 1 has this error of the energy."""
    work = open_work(folder, more)
    with closing(work.store):
        work = replace(work, campaign=begun.of(work.campaign, work.store))
        after_round(work)
        before = work.store.find("segment 1")
        assert before is not None
        outputs = {**before.outputs, **({} if limits is None else {"limits": limits})}
        work.store.append(replace(before, outputs=outputs))
        work = replace(work, campaign=begun.of(work.campaign, work.store))
        labelled(work, FRAMES[0][1])
        error = {} if energy is None else {"energy_error_meV_per_atom": energy}
        each = [{"walker": "salt-0", "force_error_ratio": 0.2, **error}]
        name = "evaluate generation 0 on round 1"
        work.store.append(whole(Record(name, "evaluate", 1, "", {"each": each}, 1.0, 0.0)))
        decision, walker = first_decision(work)
        start = np.array_equal(walker.atoms.positions, crystal().positions)
        assert start == (decision.source == "start")
        noting.note(work, 2, [decision])
        noting.note(work, 2, [decision])
        (noted,) = (r for r in work.store.records() if r.stage == "steer")
        assert noted.outputs["walkers"][0]["energy_error_meV_per_atom"] == energy
    return decision


@pytest.mark.parametrize(
    ("energy", "source", "step"), [(-45.2, "start", 0), (12.0, "good", 400), (None, "good", 400)]
)
def test_a_wrong_energy_sends_a_walker_to_the_start_without_its_hills(
    tmp_path: Path, energy: float | None, source: str, step: int
) -> None:
    decision = judged(tmp_path, energy, limits=LIMITS)
    assert (decision.source, decision.step) == (source, step)
    if source == "start":
        assert decision.reason == "energy error"
        assert decision.why == (
            "the model's energy of its frame was wrong by -45 meV/atom without the common offset "
            "(limit 20)"
        )


def test_campaigns_of_before_have_no_limit_on_energies_unless_they_ask(tmp_path: Path) -> None:
    for number, more in enumerate(("", "policy: {max_energy_error_meV_per_atom: 30}\n")):
        folder = tmp_path / str(number)
        folder.mkdir()
        decision = judged(folder, -45.2, limits=None, more=more)
        # and they keep the hills, as they did for the forces
        assert (decision.source, decision.step) == ("start" if more else "good", 400)


def noted(work: Work) -> list[str]:
    """Reasons of both walkers, as `status` counts them."""
    _, decisions = steer.stand(work, 2)
    return [one.reason for one in decisions]


def test_reasons_of_the_other_resets(tmp_path: Path) -> None:
    work = open_work(tmp_path, "policy: {after_breakdown: before}\n")
    with closing(work.store):
        after_round(work)
        labelled(work, FRAMES[0][1])
        assert noted(work) == ["", "no good frame"]
        after_round(work, broke=True)
        assert noted(work)[0] == "breakdown"
        walked(work, {}, stop="plumed stop")
        assert noted(work)[0] == "plumed stop"
        after_round(work)
        for _, atoms in FRAMES:
            labelled(work, atoms, failed=True)
        assert noted(work)[0] == "no label"
        labelled(work, FRAMES[1][1])  # an older one, and the model was wrong there
        each = [{"walker": "salt-0", "force_error_ratio": 0.2, "energy_error_meV_per_atom": 45.0}]
        name = "evaluate generation 0 on round 1"
        work.store.append(whole(Record(name, "evaluate", 1, "", {"each": each}, 1.0, 0.0)))
        assert noted(work)[0] == "energy error"


def test_a_decision_that_a_resume_changes_is_recorded_anew(tmp_path: Path) -> None:
    work = open_work(tmp_path)
    with closing(work.store):
        one = Decision("salt-0", "good", "its last good frame", 400)
        old = {"walker": "salt-0", "source": "good", "why": one.why, "step": 400}
        record = Record("walkers of round 2", "steer", 2, "", {"walkers": [old]}, 0.0, 0.0)
        work.store.append(record)
        noting.note(work, 2, [one])  # an earlier version's, with fewer numbers
        assert [r for r in work.store.records() if r.stage == "steer"] == [record]
        noting.note(work, 2, [replace(one, source="start", reason="energy error")])
        (noted,) = (r for r in work.store.records() if r.stage == "steer")
        assert noted.outputs["walkers"][0]["source"] == "start"


def made(folder: Path, rule: str, *, rounds: int = 2) -> FakeCampaign:
    files = folder.with_name(f"{folder.name}-{rounds}")
    return fake_campaign.make(
        files, rounds=rounds, walkers=1, bootstrap=8, more=f"policy: {{{rule}}}"
    )


def trained_on(store: Store, name: str) -> int:
    record = store.find(f"train generation {name}")
    assert record is not None
    return int(record.outputs["training_labels"]) + int(record.outputs["validation_labels"])


def test_one_walker_is_judged_by_the_offset_of_known_frames(tmp_path: Path) -> None:
    """Its own error would be the offset if the mean of the round were subtracted."""
    campaign = made(tmp_path / "a", "max_energy_error_meV_per_atom: 1.0e-4")
    campaign.run()
    store = read_campaign(campaign.root)
    found = store.find("evaluate generation 0 on round 1")
    assert found is not None
    (offset,) = found.outputs["known_offsets_meV_per_atom"].values()
    (walker,) = found.outputs["each"]
    total = found.outputs["new"]["energy_offset_meV_per_atom"]
    assert walker["energy_error_meV_per_atom"] == pytest.approx(total - offset)
    assert abs(walker["energy_error_meV_per_atom"]) < 0.2 * abs(offset)
    (steered,) = store.find("walkers of round 2").outputs["walkers"]  # type: ignore[union-attr]
    assert (steered["source"], steered["step"]) == ("start", 0)
    names = [f"bias/NaCl/round-00{number}.tsv" for number in (2, 1)]
    bias = hill_tables.record(hill_tables.read(store.checked(name)) for name in names)
    assert bias is not None
    rounds = {number: {h.active for h in bias.hills if h.round == number} for number in (1, 2)}
    assert rounds == {1: {False}, 2: {True}}


def test_a_label_that_is_held_out_is_kept_and_not_trained_on(tmp_path: Path) -> None:
    rule = "max_energy_error_meV_per_atom: null, hold_out: {energy_error_meV_per_atom: 1.0e-4}"
    campaign = made(tmp_path / "a", rule)
    campaign.run()
    store = read_campaign(campaign.root)
    assert [trained_on(store, name) for name in ("0", "1", "2")] == [8, 8, 8]
    assert sum(r.stage == "label" for r in store.records()) == 10
    held = store.find("labels of round 1 held out")
    assert held is not None
    assert held.outputs["labels"][0]["walker"] == "NaCl-0"
    before = {r.task: r.outputs for r in store.records() if r.stage in ("train", "segment")}
    # the rule of a resumed campaign is for its later rounds
    jobs = made(tmp_path / "a", "max_energy_error_meV_per_atom: null", rounds=3).run(
        campaign.folder
    )
    assert not any(name.startswith(("train generation 2", "segment 2")) for name in jobs)
    store = read_campaign(campaign.root)
    after = {r.task: r.outputs for r in store.records() if r.task in before}
    assert after == before
    assert trained_on(store, "3") == 9


@pytest.mark.parametrize(
    ("reason", "shift_A", "says"),
    [
        (None, 0.0, None),
        (None, 1.0, "Na1–Na3 are"),  # no stop: the sentinel was off, or it was too short
        ("force", 1.0, "Na1–Na3 are"),
        ("bond broken", 0.0, "a broken bond"),  # the last frame may be intact again
        ("bond formed", 0.0, "a broken bond"),
        ("force", np.nan, None),
    ],
)
def test_the_journal_says_which_bond_changed(
    reason: str | None, shift_A: float, says: str | None
) -> None:
    atoms = crystal()
    atoms.positions[0, 1:] += [shift_A, shift_A]
    result = WalkerResult(
        id="salt-0", system="salt", frames=(Frame(10, crystal()), Frame(20, atoms)), last_step=20,
        steps_done=20, halted=None if reason is None else "a broken bond",
        stop=None if reason is None else Stop(20, reason, 3.0, 2.0, 10), new_hills=(), headers={},
        colvars=(), thermo={}, seconds=1.0, broke=reason is not None,
    )  # fmt: skip
    guard = bonds.guard(crystal(), left_out=(), break_ratio=1.5, form_ratio=1.2)
    found = explore._entry(Candidate("salt-0", "salt", 10, crystal(), "so"), result, guard)
    change = found["bond_change"]
    assert change is None if says is None else change.startswith(says)
    assert "bond_change" not in explore._entry(
        Candidate("salt-0", "salt", 10, crystal(), "so"), result, None
    )


@dataclass
class Stopped(FakeEngines):
    """Interrupted before the first training of a generation."""

    before: str = ""

    def __call__(self, job: Job) -> int:
        """Do it."""
        if job.name == self.before:
            self.before = ""
            raise KeyboardInterrupt
        return super().__call__(job)


@pytest.mark.parametrize("before", ["evaluate generation 0 on round 1", "train generation 1"])
def test_an_interrupted_campaign_holds_out_the_same_labels(tmp_path: Path, before: str) -> None:
    rule = "hold_out: {energy_error_meV_per_atom: 1.0e-4}"
    smooth = made(tmp_path / "a", rule)
    smooth.run()
    other = made(tmp_path / "b", rule)
    other.programs = Stopped(before=before)
    with pytest.raises(KeyboardInterrupt):
        other.run()
    # its settings were changed in between: what is decided stays
    later = other if before != "train generation 1" else made(tmp_path / "c", "hold_out: null")
    later.run(other.folder)
    found, expected = (read_campaign(one.root) for one in (other, smooth))
    for name in ("train generation 1", "labels of round 1 held out", "segment 2"):
        one, two = found.find(name), expected.find(name)
        assert one is not None
        assert two is not None
        assert one.inputs == two.inputs
        if one.stage == "held out":
            assert one.outputs == two.outputs
    rewinding.rewind(other.root, 0)
    assert known.held_out(read_campaign(other.root)) == frozenset()
