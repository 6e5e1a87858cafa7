"""Bootstrap and label: from structures and candidates to labelled frames."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from . import labels
from .errors import NothingLeft, ParseError, PhasewalkError
from .jobs import Finished
from .labels import Label, Level
from .store import read_json
from .structures import perturb
from .tasks import FAILED, Counter, Outputs, Task, Work

MIN_BOOTSTRAP_SHARE = 0.5


@dataclass(frozen=True)
class Frame:
    """A frame to label, and where it comes from."""

    atoms: Atoms
    system: str
    origin: Mapping[str, Any]


def bootstrap_frames(work: Work) -> list[Frame]:
    """The perturbed structures of round 0: drawn once, then read from where they were written."""
    settings = work.campaign.settings.bootstrap
    place = work.store.root / "rounds/000/frames.json"
    record = work.store.done("bootstrap", "")
    if record is None:
        drawn = []
        for number, (system, atoms) in enumerate(work.campaign.structures.items()):
            rng = np.random.default_rng([work.campaign.settings.seed, number])
            for index in range(settings.count):
                moved = perturb(
                    atoms,
                    rng,
                    displacement_A=settings.displacement_A,
                    strain=settings.strain,
                    min_distance_fraction=settings.min_distance_fraction,
                )
                origin = {"system": system, "round": 0, "index": index}
                drawn.append({"origin": origin, "frame": labels.frame_to_json(moved)})
        work.store.write("rounds/000/frames.json", json.dumps(drawn).encode())
        work.note("bootstrap", "bootstrap", 0, {"frames": len(drawn)})
    return read_frames(place)


def read_frames(path: Path) -> list[Frame]:
    """The frames that `bootstrap_frames` wrote."""

    def frame(entry: Mapping[str, Any]) -> Frame:
        origin = dict(entry["origin"])
        return Frame(labels.frame_from_json(entry["frame"]), origin["system"], origin)

    return read_json(path, frame)


def label_bootstrap(work: Work, frames: Sequence[Frame]) -> list[Label]:
    """Label the frames of round 0; failed ones are left out.

    Raises:
        NothingLeft: less than half of the labels succeeded.
    """
    found = [label for label in _label_frames(work, 0, frames) if label is not None]
    if len(found) < max(2, MIN_BOOTSTRAP_SHARE * len(frames)):
        raise NothingLeft(
            f"only {len(found)} of {len(frames)} bootstrap labels succeeded; look into "
            f"{work.store.root / 'rounds/000/label'}, then start a new --dir with a smaller "
            "bootstrap.displacement_A or bootstrap.strain, or another reference"
        )
    return found


def label_proposals(work: Work, round_: int, proposals: Sequence[Sequence[Frame]]) -> list[Label]:
    """Label one frame of each walker: the first of its frames that can be labelled."""
    found: dict[int, Label] = {}
    for attempt in range(max((len(frames) for frames in proposals), default=0)):
        asked = [
            (index, frames[attempt])
            for index, frames in enumerate(proposals)
            if index not in found and attempt < len(frames)
        ]
        if not asked:
            break
        made = _label_frames(work, round_, [frame for _, frame in asked])
        found.update({index: label for (index, _), label in zip(asked, made, strict=True) if label})
    return [found[index] for index in sorted(found)]


def _label_frames(work: Work, round_: int, frames: Sequence[Frame]) -> list[Label | None]:
    """Label frames side by side, each kept the moment it is done; None for a failed one."""
    at = {
        system: labels.level(work.campaign.settings.reference, multiple)
        for system, multiple in work.campaign.cell_multiples.items()
    }
    later = (f"train generation {round_}", f"segment {round_ + 1}")
    again = all(work.store.find(task) is None for task in later)
    tasks = [_label_task(work, round_, frame, at[frame.system], again) for frame in frames]
    work.observer.begin(round_, "label", len(tasks), "labels")
    done = sum(work.store.find(task.name) is not None for task in tasks)
    outputs = work.do(tasks, Counter(work.observer, done))
    found: list[Label | None] = []
    for task, output in zip(tasks, outputs, strict=True):
        if FAILED in output:
            work.observer.say(f"round {round_}: {output[FAILED]}")
            found.append(None)
            continue
        label = work.store.label(output["key"])
        if label is None:
            raise ParseError(
                work.store.root / "labels" / f"{output['key']}.json",
                f"is missing, but the journal holds it ({task.name}); restore it from a backup",
            )
        found.append(label)
    return found


def task_name(key: str, round_: int) -> str:
    """Name of the task that makes a label in a round."""
    return f"label {key} of round {round_}"


def _label_task(work: Work, round_: int, frame: Frame, at: Level, again: bool) -> Task:
    settings = work.campaign.settings.reference
    key = labels.label_key(frame.atoms, at)

    def keep(label: Label) -> Outputs:
        work.store.add_label(label)
        return {"key": key, "origin": dict(frame.origin), "level": str(at)}

    def read(finished: Finished) -> Outputs:
        return keep(
            labels.read(
                finished,
                frame.atoms,
                at=at,
                origin=frame.origin,
                max_force=settings.max_force_eV_per_A,
            )
        )

    def adopt(directory: Path) -> Outputs | None:
        if work.store.label(key) is not None:
            return {"key": key, "origin": dict(frame.origin), "level": str(at)}
        try:
            return keep(
                labels.read_result(
                    directory,
                    frame.atoms,
                    at=at,
                    origin=frame.origin,
                    max_force=settings.max_force_eV_per_A,
                )
            )
        except PhasewalkError:
            return None

    return Task(
        name=task_name(key, round_),
        stage="label",
        round=round_,
        inputs=key,
        place=f"rounds/{round_:03d}/label/{key}",
        job=lambda directory: labels.job(
            f"label {key}", frame.atoms, settings=settings, directory=directory
        ),
        read=read,
        may_fail=True,
        again=again,
        adopt=adopt,
    )
