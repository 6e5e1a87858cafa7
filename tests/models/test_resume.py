"""What a killed training has left: the newest whole checkpoint of the same training."""

import zipfile
from pathlib import Path

import pytest

from helpers.fakes import stage
from phasewalk.files import set_aside
from phasewalk.jobs import Job
from phasewalk.models import resume, training_config


def job(folder: Path, config: str = "epochs: 9") -> Job:
    files = {"config.yaml": config.encode(), "train.extxyz": b"frames"}
    return Job("train generation 0", ("x",), folder / "train", inputs=files)


def killed(folder: Path, *epochs: int, config: str = "epochs: 9", why: str = "interrupted") -> Path:
    """A try that had kept checkpoints after these epochs, set aside."""
    stage(job(folder, config))
    place = folder / "train"
    for count in epochs:
        with zipfile.ZipFile(place / training_config.RESUME.format(count), "w") as archive:
            archive.writestr("data", b"weights" * 100)
    done = max(epochs, default=0) + 1
    (place / "progress.jsonl").write_text("".join(f'{{"epoch": {n}}}\n' for n in range(1, done)))
    moved = set_aside(place, why)
    assert moved is not None
    return moved


def names(left: resume.Left) -> list[str]:
    return sorted([*left.inputs, *left.links])


def test_nothing_left(tmp_path: Path) -> None:
    assert resume.left_behind(job(tmp_path)) == resume.Left({}, {}, 0, None, ())
    killed(tmp_path)
    assert resume.left_behind(job(tmp_path)).place is None


@pytest.mark.parametrize("why", ["interrupted", "failed"])
def test_the_newest_two_and_the_numbers_of_the_epochs(tmp_path: Path, why: str) -> None:
    place = killed(tmp_path, 3, 5, 7, why=why)
    left = resume.left_behind(job(tmp_path))
    assert (left.epochs, left.place, left.damaged) == (7, place, ())
    assert names(left) == ["progress.jsonl", "resume-000005.ckpt", "resume-000007.ckpt"]
    assert left.inputs["progress.jsonl"].count(b"\n") == 7


def test_the_try_that_came_furthest_counts(tmp_path: Path) -> None:
    """The last one may have been killed before its first epoch."""
    first = killed(tmp_path, 4, 6)
    killed(tmp_path, 2)
    left = resume.left_behind(job(tmp_path))
    assert (left.epochs, left.place) == (6, first)


def test_another_training_is_not_continued_from(tmp_path: Path) -> None:
    """Other epochs, another schedule; other labels, another generation."""
    killed(tmp_path, 4, config="epochs: 12")
    assert resume.left_behind(job(tmp_path)).place is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_leaves_the_one_before(tmp_path: Path, damage: str) -> None:
    place = killed(tmp_path, 4, 6)
    last = place / "resume-000006.ckpt"
    whole = last.read_bytes()
    flipped = bytearray(whole)
    flipped[60] ^= 255
    last.write_bytes({"cut": whole[:-30], "flipped": bytes(flipped), "empty": b""}[damage])
    left = resume.left_behind(job(tmp_path))
    assert (left.epochs, left.damaged) == (4, (last,))
    assert names(left) == ["progress.jsonl", "resume-000004.ckpt"]


@pytest.mark.parametrize(("name", "epochs"), [("resume-000012.ckpt", 12), ("resume-x.ckpt", 0)])
def test_the_epochs_by_the_name(name: str, epochs: int) -> None:
    assert training_config.epochs_of(Path(name)) == epochs
