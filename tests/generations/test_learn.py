"""What is shown of a training while it runs."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from helpers.fakes import Watcher
from phasewalk.campaign.tasks import Work
from phasewalk.generations import learn
from phasewalk.jobs import Job, Kind, Running
from phasewalk.models import model

KIND: dict[str, Kind] = {"train": "train", "evaluate": "evaluate"}


def watched(folder: Path, name: str, *epochs: tuple[float, dict[str, Any]]) -> Watcher:
    """An observer of a training, of which these epochs are seen at these seconds."""
    watcher = Watcher()
    watch = learn._watch_training(cast(Work, SimpleNamespace(observer=watcher)))
    for seconds, epoch in epochs:
        with (folder / model.PROGRESS).open("a") as stream:
            stream.write(json.dumps(epoch) + "\n")
        watch(Running(Job(name, ("x",), folder, KIND[name.split()[0]]), seconds))
    return watcher


def test_epochs_with_their_error_and_the_time_that_is_left(tmp_path: Path) -> None:
    seen = watched(
        tmp_path,
        "train generation 1",
        (30.0, {"epoch": 1, "epochs": 25, "forces_mae": 0.3}),
        (36.0, {"epoch": 4, "epochs": 25, "forces_mae": 0.245}),
    )
    assert seen.advanced == [1, 4]
    first, last = seen.seen
    assert (first.total, first.seconds_left) == (25, None)
    assert last.numbers == {"force_mae_meV_per_A": 245.0}
    assert last.seconds_left == pytest.approx(21 * 2)


def test_an_epoch_without_numbers(tmp_path: Path) -> None:
    seen = watched(tmp_path, "train generation final", (3.0, {"epoch": 1}))
    assert (seen.advanced, seen.seen[0].total, seen.seen[0].numbers) == ([1], None, {})


def test_other_jobs_have_no_epochs(tmp_path: Path) -> None:
    assert watched(tmp_path, "evaluate generation 1", (3.0, {"epoch": 1})).advanced == []
