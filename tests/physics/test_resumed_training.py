"""A training that is killed goes on where it was, and ends as if nothing had come between."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from physics_training import Recipe, Workshop, training

from phasewalk.engines.local import LocalLauncher
from phasewalk.files import set_aside
from phasewalk.jobs import Job, Running, run, submit
from phasewalk.models import model, resume, training_config

pytestmark = [pytest.mark.engine("nequip"), pytest.mark.slow]
RECIPE = Recipe()


def kill(job: Job) -> Path:
    """Kill it as soon as it has kept two checkpoints; where it is set aside."""
    with closing(submit(LocalLauncher(), [job])) as events:
        for event in events:
            kept = list(job.directory.glob(training_config.RESUMES))
            if isinstance(event, Running) and len(kept) == training_config.KEPT:
                break
    moved = set_aside(job.directory, "interrupted")
    assert moved is not None
    return moved


def test_killed_with_its_last_checkpoint_damaged(workshop: Workshop, tmp_path: Path) -> None:
    job = training(RECIPE, tmp_path / "train")
    place = kill(job)
    before, last = sorted(place.glob(training_config.RESUMES))
    last.write_bytes(last.read_bytes()[:-100])
    left = resume.left_behind(job)
    assert (left.epochs, left.damaged) == (training_config.epochs_of(before), (last,))
    trained = model.read_training(
        run(
            LocalLauncher(),
            dataclasses.replace(
                job, inputs={**job.inputs, **left.inputs}, links={**job.links, **left.links}
            ),
        )
    )
    lines = (job.directory / training_config.PROGRESS).read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, RECIPE.epochs + 1))
    assert (
        lines[: left.epochs]
        == (place / training_config.PROGRESS).read_text().splitlines()[: left.epochs]
    )
    with np.load(trained.weights) as mine, np.load(workshop.train(RECIPE).weights) as theirs:
        assert mine.files == theirs.files
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine.files)
