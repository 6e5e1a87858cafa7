"""The error on a frame whose label comes late resets its walker, one steering later than others.

In the campaigns here the label of NaCl-2 in round 1 takes long, and its energy is 1 eV too high.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import fake_engines
from helpers.fakes import FakeLauncher, Watcher
from helpers.late_labels import Story, labels
from phasewalk.bias import HillsRecord, hill_tables
from phasewalk.campaign.tasks import Work
from phasewalk.generations import late_judged
from phasewalk.rounds import apart, rewinding, steer
from phasewalk.status import summary
from phasewalk.store import Store, read_campaign

Make = Callable[..., Story]
ROUNDS = 3
WALKER = "NaCl-2"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the label that is late."""
    story = Story(tmp_path_factory.mktemp("first") / "campaign")
    story.run(1)
    return labels(story, 1)[WALKER]


@pytest.fixture(scope="module")
def outlier(tmp_path_factory: pytest.TempPathFactory, key: str) -> Story:
    story = Story(tmp_path_factory.mktemp("late") / "campaign", frozenset([key]))
    story.shifts = {key: 1.0}
    story.run(ROUNDS)
    return story


@pytest.fixture
def make(tmp_path: Path, key: str) -> Make:
    return lambda name="campaign", **options: Story(
        tmp_path / name, **{"slow": frozenset([key]), "shifts": {key: 1.0}, **options}
    )


def begun(story: Story, round_: int) -> dict[str, Any]:
    """How the walker began a round, as the journal has it."""
    found = story.records()[f"walkers of round {round_}"]["outputs"]["walkers"]
    return next(one for one in found if one["walker"] == WALKER)


def hills(story: Story, rounds: int = ROUNDS) -> HillsRecord:
    """All hills, as known in a round."""
    store: Store = read_campaign(story.root)
    names = [f"bias/NaCl/round-{number:03d}.tsv" for number in range(rounds, 0, -1)]
    found = hill_tables.record(hill_tables.read(store.checked(name)) for name in names)
    assert found is not None
    return found


def inactive(story: Story) -> set[tuple[str, int]]:
    """Walker and round of the hills that do not count."""
    return {(hill.walker, hill.round) for hill in hills(story).hills if not hill.active}


def test_it_sends_the_walker_back_and_ends_the_hills_of_both_rounds(
    outlier: Story, key: str
) -> None:
    assert outlier.records()["late labels of round 1"]["outputs"]["labels"][0]["key"] == key
    assert (begun(outlier, 2)["source"], begun(outlier, 2)["reason"]) == ("good", "")
    found = begun(outlier, 3)
    assert (found["source"], found["reason"]) == ("start", "energy error")
    assert (found["late_step"], found["step"]) == (0, 60)
    assert found["why"] == found["late"]
    assert found["why"].startswith(
        "the label of its frame of round 1 came late: the model's energy of its frame was wrong by"
    )
    assert inactive(outlier) == {(WALKER, 1), (WALKER, 2)}
    assert outlier.last is not None
    lines = [line for line in outlier.last.watcher.lines if "came late" in line]
    assert lines == [f"{WALKER} continues from the start structure: {found['why']}"]


def test_the_others_and_their_records_are_as_without_late_labels(outlier: Story) -> None:
    found = outlier.records()["walkers of round 3"]["outputs"]["walkers"]
    assert [set(one) & {"late", "late_step"} for one in found] == [
        set(), set(), {"late", "late_step"}, set()
    ]  # fmt: skip
    states = {
        state.walker: state for state in steer.read_states(outlier.root / "rounds/003/walkers.json")
    }
    cells = {name: state.came_from[1].cell.array for name, state in states.items()}
    assert np.allclose(cells[WALKER], 5.64 * np.eye(3))
    assert not np.allclose(cells["NaCl-0"], 5.64 * np.eye(3))


def test_walkers_read_no_hill_that_does_not_count(outlier: Story) -> None:
    text = (outlier.root / "bias/NaCl/history/metad.hills").read_text()
    active = [h.text for h in hills(outlier).hills if h.active and h.round < ROUNDS]
    assert [line for line in text.splitlines() if not line.startswith("#")] == active
    assert 0 < len(active) < len([h for h in hills(outlier).hills if h.round < ROUNDS])


def test_it_counts_as_a_reset_and_as_an_outlying_label(outlier: Story) -> None:
    found = summary.collect(outlier.root)["intact"]
    assert (found["resets"], found["labels_outlying"]) == ({"energy error": 1}, 1)


def test_a_label_in_time_does_so_one_round_earlier(make: Make) -> None:
    story = make(factor="null")
    story.run(ROUNDS)
    assert (begun(story, 2)["source"], begun(story, 2)["step"]) == ("start", 0)
    assert begun(story, 3)["source"] == "good"
    assert inactive(story) == {(WALKER, 1)}


@pytest.mark.parametrize("stop_at", ["train generation 2", "segment of round 3", "train gene"])
def test_after_a_kill_it_is_the_same(make: Make, outlier: Story, stop_at: str) -> None:
    story = make()
    story.run(ROUNDS, stop_at=stop_at)
    story.run(ROUNDS)
    assert story.made() == outlier.made()
    assert story.run(ROUNDS) == []


def test_after_a_rewind_it_is_the_same(make: Make, outlier: Story) -> None:
    story = make()
    story.run(ROUNDS)
    rewinding.rewind(story.root, 2)
    story.run(ROUNDS)
    assert story.made() == outlier.made()


def test_with_one_more_round_asked_for_later_it_is_the_same(make: Make, outlier: Story) -> None:
    story = make()
    for rounds in (2, ROUNDS):
        story.run(rounds)
    assert story.made() == outlier.made()


def test_a_walker_that_had_begun_elsewhere_only_loses_the_hills_before(make: Make) -> None:
    story = make(breaks={WALKER: 58}, policy="after_breakdown: start")
    keyed = make("first", breaks={WALKER: 58}, policy="after_breakdown: start", factor="null")
    keyed.run(1)
    late = labels(keyed, 1)[WALKER]
    story.slow, story.shifts = frozenset([late]), {late: 1.0}
    story.run(ROUNDS)
    assert begun(story, 2)["reason"] == "breakdown"
    found = begun(story, 3)
    assert (found["source"], found["reason"], found["late_step"]) == ("good", "", 0)
    mine = [hill for hill in hills(story).hills if hill.walker == WALKER]
    assert {(h.round, h.active) for h in mine if h.round < ROUNDS} == {(1, False), (2, True)}
    assert story.last is not None
    assert any(
        line.startswith(f"{WALKER}: its hills of round 1 are inactive: the label of its frame")
        for line in story.last.watcher.lines
    )


def test_without_a_limit_it_goes_on(make: Make) -> None:
    story = make(policy="max_energy_error_meV_per_atom: null")
    story.run(ROUNDS)
    assert begun(story, 3)["source"] == "good"
    assert inactive(story) == set()


def test_it_may_be_held_out_as_others(make: Make, key: str) -> None:
    story = make(policy="hold_out: {}")
    story.run(ROUNDS)
    held = story.records()["labels of round 2 held out"]["outputs"]["labels"]
    assert [(one["key"], one["walker"]) for one in held] == [(key, WALKER)]
    assert [story.trained(n) for n in range(4)] == [5, 8, 12, 16]
    assert story.run(ROUNDS) == []


def test_an_older_frame_is_judged_if_the_late_label_fails(make: Make, key: str) -> None:
    first = make("first", fails=frozenset([key]), shifts={})
    first.run(2)
    older = labels(first, 1)[WALKER]
    assert older != key
    assert begun(first, 2)["source"] == "good"
    story = make(fails=frozenset([key]), shifts={older: 1.0})
    story.run(ROUNDS)
    assert (begun(story, 3)["source"], begun(story, 3)["late_step"]) == ("start", 0)


FINAL = "{budget: {epochs: 2, learning_rate: 0.01}}"
AT_END = "evaluate late labels of round 1"


@pytest.mark.parametrize(("policy", "learned"), [("hold_out: {}", 8), ("", 9)])
def test_in_the_last_round_it_is_judged_before_the_final_model(
    make: Make, key: str, policy: str, learned: int
) -> None:
    story = make(policy=policy, final=FINAL)
    story.run(1)
    (found,) = story.records()[AT_END]["outputs"]["each"]
    assert (found["walker"], found["key"], found["late"]) == (WALKER, key, True)
    assert abs(found["energy_error_meV_per_atom"]) > 100.0
    assert (story.trained(1), story.trained("final")) == (8, learned)
    held = story.records().get("late labels of round 1 held out", {"outputs": {"labels": []}})
    assert [one["key"] for one in held["outputs"]["labels"]] == [key] * (9 - learned)
    assert summary.collect(story.root)["intact"]["labels_outlying"] == 1
    assert story.run(1) == []


def test_more_rounds_after_that_are_as_if_asked_for_at_once(make: Make) -> None:
    options = {"policy": "hold_out: {}", "final": FINAL}
    story, once = make("a", **options), make("b", **options)
    for rounds in (1, 2):
        story.run(rounds)
    once.run(2)
    assert story.made() == once.made()
    assert summary.collect(story.root)["intact"] == summary.collect(once.root)["intact"]
    rewinding.rewind(story.root, 1)
    assert AT_END not in {record.task for record in read_campaign(story.root).records()}
    story.run(2)
    assert story.made() == once.made()


def test_without_a_limit_or_late_labels_there_is_no_such_job(make: Make) -> None:
    unlimited = make("a", policy="max_energy_error_meV_per_atom: null, max_force_error_ratio: null")
    for story in (unlimited, make("b", factor="null")):
        story.final = FINAL
        story.run(1)
        assert AT_END not in story.records()


def test_what_an_earlier_version_has_finished_is_not_judged(make: Make) -> None:
    story = make(policy="hold_out: {}", final=FINAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(late_judged, "judge", lambda *_, **__: None)
        story.run(1)
    assert story.run(1) == []
    assert story.trained("final") == 9


@pytest.mark.parametrize("rounds", [1, 2])
def test_no_free_energy_begins_at_such_a_frame(make: Make, rounds: int) -> None:
    """Found by the end of the campaign, or by its next round."""
    story = make(final=FINAL)
    story.run(rounds)
    assert story.last is not None
    work = Work(
        story.last.campaign,
        read_campaign(story.root),
        FakeLauncher(story.last.programs),
        fake_engines.engines(story.folder),
        Watcher(),
    )
    walkers, elsewhere = apart.stand(work, 1)
    assert list(elsewhere) == [WALKER]
    assert "the model's energy of its frame was wrong by" in elsewhere[WALKER]
    atoms = next(one.atoms for one in walkers if one.id == WALKER)
    assert np.allclose(atoms.cell.array, 5.64 * np.eye(3))
