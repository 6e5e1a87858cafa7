"""A generation is trained without late labels, which join the next: decided once, whatever comes.

In the campaigns here the label of one walker in round 1 takes much longer than the others.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.late_labels import OTHER, SHORT, Story, labels
from phasewalk.rounds import rewinding
from phasewalk.status import history, summary
from phasewalk.store import directory


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A campaign without late labels."""
    story = Story(tmp_path_factory.mktemp("prompt") / "campaign")
    story.run()
    return story


@pytest.fixture(scope="module")
def key(prompt: Story) -> str:
    """Of the label that is late."""
    return labels(prompt, 1)["NaCl-2"]


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, key: str) -> Story:
    """The same, with one late label."""
    story = Story(tmp_path_factory.mktemp("late") / "campaign", frozenset([key]))
    story.run()
    return story


Make = Callable[..., Story]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda name="campaign", **options: Story(tmp_path / name, **options)


def test_without_late_labels_nothing_changes(prompt: Story, make: Make) -> None:
    waits = make(factor="null")
    waits.run()
    assert waits.made() == prompt.made()
    assert list(waits.records()) == list(prompt.records())


def test_the_training_does_not_wait_and_the_next_learns_it(
    late: Story, prompt: Story, key: str
) -> None:
    events = late.events()
    begins = events.index("train generation 1 begins")
    assert events.index(f"label {key} begins") < begins < events.index(f"label {key} ends")
    records = late.records()
    assert records["late labels of round 1"]["outputs"]["labels"] == [
        {"key": key, "walker": "NaCl-2"}
    ]
    assert [late.trained(n) for n in range(3)] == [5, 8, 13]
    assert [prompt.trained(n) for n in range(3)] == [5, 9, 13]
    assert records[f"label {key} of round 1"]["round"] == 1
    assert late.last is not None
    assert any("1 label(s) are late" in line for line in late.last.watcher.lines)
    beside = {event.job.name for event in late.last.watcher.beside}
    assert beside == {f"label {key}"}


def test_it_is_in_the_numbers_of_its_own_round_and_learned_by_the_next(
    late: Story, key: str
) -> None:
    state = summary.collect(late.root)
    assert [entry["labels"] for entry in state["rounds"]] == [5, 4, 4]
    assert [entry["late_labels"]["count"] for entry in state["rounds"]] == [0, 1, 0]
    assert state["rounds"][1]["late_labels"]["finished"] == 1
    told = [one for one in history.read(late.root).comparisons if one.key == key]
    assert [(one.generation, one.learned) for one in told] == [("1", False), ("2", True)]
    each = late.records()["evaluate generation 1 on round 2"]["outputs"]["each"]
    assert [(one["walker"], one.get("late", False)) for one in each] == [
        ("NaCl-2", True),
        *((f"NaCl-{n}", False) for n in range(4)),
    ]


def test_finished_rounds_with_late_labels_are_neither_replayed_nor_printed(
    late: Story,
) -> None:
    before = late.records()
    assert late.run() == []
    assert late.last is not None
    assert not any("NaCl" in line or "late" in line for line in late.last.watcher.lines)
    assert late.records() == before


def test_more_rounds_go_on_as_if_they_had_been_asked_for_at_once(late: Story, make: Make) -> None:
    found = []
    for name, steps in (("once", [3]), ("twice", [2, 3])):
        story = make(name, slow=late.slow)
        for rounds in steps:
            story.run(rounds)
        assert "late labels of round 1" in story.records()
        found.append(story.made())
    assert found[0] == found[1]


def test_in_the_last_round_all_labels_are_waited_for(make: Make, key: str) -> None:
    story = make(slow=frozenset([key]))
    story.run(1)
    assert "late labels of round 1" not in story.records()
    assert story.trained(1) == 9


def test_the_final_model_waits_for_all(make: Make, key: str) -> None:
    story = make(
        slow=frozenset([key]),
        final="{from_scratch: true, budget: {epochs: 3, learning_rate: 0.01}}",
    )
    story.run(1)
    assert "late labels of round 1" in story.records()
    assert (story.trained(1), story.trained("final")) == (8, 9)
    assert story.run(1) == []
    story.run(2)
    assert story.trained(2) == 13


def test_a_late_label_of_the_bootstrap_joins_generation_1(make: Make, prompt: Story) -> None:
    first = next(r["outputs"]["key"] for r in prompt.records().values() if r["stage"] == "label")
    story = make(slow=frozenset([first]))
    story.run(2)
    assert story.records()["late labels of round 0"]["outputs"]["labels"] == [
        {"key": first, "walker": None}
    ]
    assert [story.trained(n) for n in range(3)] == [4, 9, 13]
    assert story.run(2) == []


def test_a_late_label_that_fails_is_a_failed_one_of_its_round(make: Make, key: str) -> None:
    story = make(slow=frozenset([key]), fails=frozenset([key]))
    story.run()
    records = story.records()
    assert "failed" in records[f"label {key} of round 1"]["outputs"]
    older = labels(story, 1)["NaCl-2"]
    assert older != key  # of an older frame of the same walker, as ever
    assert [story.trained(n) for n in range(3)] == [5, 8, 13]
    state = summary.collect(story.root)
    assert (state["rounds"][1]["labels"], len(state["rounds"][1]["failed_labels"])) == (4, 1)
    told = [one.learned for one in history.read(story.root).comparisons if one.key == older]
    assert told == [False, True]
    assert story.run() == []


def test_that_a_late_label_of_the_last_round_has_failed_is_said_once(make: Make, key: str) -> None:
    story = make(
        slow=frozenset([key]),
        fails=frozenset([key]),
        final="{from_scratch: true, budget: {epochs: 3, learning_rate: 0.01}}",
    )
    said = []
    for _ in range(3):
        story.run(1)
        assert story.last is not None
        said.append([line for line in story.last.watcher.lines if f"label {key} ended" in line])
    assert [len(lines) for lines in said] == [1, 0, 0]


def test_not_before_half_of_the_labels_are_finished(make: Make, prompt: Story) -> None:
    found = labels(prompt, 1)
    story = make(slow=frozenset(found[f"NaCl-{n}"] for n in range(3)))
    story.run(2)
    assert "late labels of round 1" not in story.records()
    assert story.trained(1) == 9


def test_while_a_label_waits_for_cores_none_is_late(make: Make, key: str) -> None:
    """On one core the next label cannot start before the long one has ended."""
    story = make(slow=frozenset([key]))
    story.run(2, cores=1)
    assert "late labels of round 1" not in story.records()
    assert story.trained(1) == 9


@pytest.mark.parametrize(
    "stop_at", ["train generation 1", "segment of round 2", "the label", "train generation 2"]
)
def test_a_kill_loses_nothing_and_the_record_decides(
    make: Make, late: Story, key: str, stop_at: str
) -> None:
    story = make(slow=late.slow)
    story.run(stop_at=f"label {key}" if stop_at == "the label" else stop_at)
    assert "late labels of round 1" in story.records()
    story.slow = frozenset()  # it would not be late any more
    story.run()
    assert story.made() == late.made()
    results = list(story.root.rglob(f"label/{key}*/result.json"))
    assert len(results) == 1


def test_after_a_kill_it_is_started_again_at_once(make: Make, late: Story, key: str) -> None:
    story = make(slow=late.slow)
    story.run(stop_at="train generation 1")
    story.run()
    events = story.events()
    assert events.index(f"label {key} begins") < events.index("train generation 1 ends")


def test_what_had_ended_before_a_kill_costs_what_it_took(make: Make, key: str) -> None:
    """It ends while generation 1 is trained, and is asked for only after the walkers of round 2."""
    story = make(slow=frozenset([key]), long=OTHER + 2 * SHORT)
    story.run(stop_at="segment of round 2")
    assert f"label {key} of round 1" not in story.records()
    assert f"label {key}" not in story.run()
    record = story.records()[f"label {key} of round 1"]
    assert (record["seconds"], record["cores"]) == (OTHER + 2 * SHORT, 1)
    assert "reused" not in record["outputs"]


def test_a_rewind_to_its_round_keeps_it_late(make: Make, late: Story, key: str) -> None:
    story = make(slow=late.slow)
    story.run()
    rewinding.rewind(story.root, 1)
    jobs = story.run()
    assert f"label {key}" not in jobs
    assert story.made() == late.made()


def test_a_rewind_before_its_round_forgets_that_it_was_late(
    make: Make, late: Story, prompt: Story, key: str
) -> None:
    story = make(slow=late.slow)
    story.run()
    rewinding.rewind(story.root, 0)
    assert f"label {key}" not in story.run()
    assert "late labels of round 1" not in story.records()
    assert story.trained(1) == 9
    with_all = [one for one in prompt.made() if one.startswith("models/gen-001")]
    assert all(story.made()[name] == prompt.made()[name] for name in with_all)


def test_a_late_label_is_still_counted_by_the_budget_of_labels(make: Make, key: str) -> None:
    story = make(slow=frozenset([key]))
    story.run(stop_at="segment of round 2")
    state = summary.collect(story.root)
    assert state["rounds"][1]["late_labels"] == {"count": 1, "finished": 0}
    assert state["labels"]["done"] == 8
    assert directory.read_campaign(story.root).find("late labels of round 1") is not None
