"""Frames of the bootstrap: randomly perturbed structures, and their file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict

from .. import labels
from ..campaign import Work
from ..errors import ParseError
from ..files import read
from ..store import (
    BOOTSTRAP,
    LABEL,
    Drawn,
    Late,
    label_task,
    late_task,
    train_task,
)
from ..structures import perturb


@dataclass(frozen=True)
class Frame:
    """A frame to label, and its origin."""

    atoms: Atoms
    system: str
    origin: Mapping[str, Any]


def bootstrap_frames(work: Work) -> list[Frame]:
    """The perturbed structures of round 0; drawn once and then read from their file.

    If the `bootstrap` settings have changed and nothing was trained yet, they are drawn again;
    frames that are in both sets are not labelled again.
    """
    settings = work.campaign.settings.bootstrap
    drawn_with = {**settings.model_dump(mode="json"), "count": work.campaign.bootstrap_count}
    record = work.store.done(BOOTSTRAP, "")
    old = drawn_with if record is None else record.of(Drawn).drawn_with or drawn_with
    changed = old != drawn_with and work.store.find(train_task(0)) is None
    if record is None or changed:
        drawn = []
        for number, (system, atoms) in enumerate(work.campaign.structures.items()):
            rng = np.random.default_rng([work.campaign.settings.seed, number])
            for index in range(work.campaign.bootstrap_count):
                moved = perturb(
                    atoms,
                    rng,
                    displacement_A=settings.displacement_A,
                    strain=settings.strain,
                    min_distance_fraction=settings.min_distance_fraction,
                )
                origin = {"system": system, "round": 0, "index": index}
                drawn.append({"origin": origin, "frame": labels.frame_to_json(moved)})
        work.store.keep("rounds/000/frames.json", json.dumps(drawn).encode())
        work.note(BOOTSTRAP, BOOTSTRAP, 0, {"frames": len(drawn), "drawn_with": drawn_with})
    frames = read_frames(place := work.store.checked("rounds/000/frames.json"))
    # Journals of earlier versions have no hash of the frames, but the address of each one's label.
    asked = {r.task for r in work.store.records() if r.stage == LABEL and r.round == 0}
    late = work.store.find(late_task(0))
    asked |= {label_task(label.key, 0) for label in (late.of(Late).labels if late else ())}
    if asked and work.store.find(train_task(0)) is not None:
        for number, frame in enumerate(frames, start=1):
            known = frame.system in work.campaign.structures
            key = labels.label_key(frame.atoms, work.campaign.level(frame.system)) if known else ""
            if label_task(key, 0) not in asked:
                wrong = f"frame {number} does not match any label of the journal"
                raise ParseError(place, f"{wrong}; restore the file from a backup")
    return frames


def read_frames(path: Path) -> list[Frame]:
    """Read the frames that `bootstrap_frames` wrote."""
    return [
        Frame(one.frame, one.origin.system, one.origin.model_dump())
        for one in read(path, list[_DrawnFrame])
    ]


class _Origin(BaseModel):
    """Origin of a frame: its system and further data."""

    model_config = ConfigDict(strict=True, extra="allow")

    system: str


class _DrawnFrame(BaseModel):
    """A perturbed structure, as stored in the file."""

    model_config = ConfigDict(strict=True)

    origin: _Origin
    frame: labels.FrameJson
