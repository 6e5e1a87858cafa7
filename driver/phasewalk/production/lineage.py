"""Provenance of results: the model that they were made with, and whether the campaign still has it.

A generation can be trained again (the final one after more rounds, any one after a rewind). Results
of its earlier weights are then not results of the present generation with the same name.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from ..bias import plumed
from ..errors import PhasewalkError
from ..files import read_text, typed
from ..store import FINAL, JOURNAL, TRAIN, Evaluated, Record, Trained, each
from ..walkers import SystemSettings

SAME = ("ensemble", "temperature_K", "pressure_MPa")
"""Settings of a system on which its free energy depends, besides the PLUMED text."""


@dataclass(frozen=True)
class Model:
    """A trained model: name of its generation, SHA-256 of its checkpoint, number of labels."""

    generation: str
    checkpoint: str
    labels: int


def models(records: Sequence[Record]) -> dict[str, Model]:
    """The models that the campaign has now, by generation."""
    return {made.generation: _model(made) for _, made in each(records, Trained)}


def former(root: Path) -> dict[str, Model]:
    """All models in the campaign's journal, also earlier ones, by the hash of their checkpoints."""
    found: dict[str, Model] = {}
    with suppress(PhasewalkError):
        for line in read_text(root / JOURNAL).splitlines():
            if f'"{TRAIN}"' in line:
                with suppress(PhasewalkError):  # not of a training
                    made = typed(line, _Line, unlike="not a training").outputs
                    found[made.sha256] = _model(made)
    return found


class _Line(BaseModel):
    """What is needed of a line of the journal."""

    stage: Literal["train"]
    outputs: Trained


def _model(made: Trained) -> Model:
    return Model(made.generation, made.sha256, made.training_labels + made.validation_labels)


def measured_now(records: Sequence[Record]) -> list[Record]:
    """Records of the evaluations of models that the campaign still has."""
    trained: set[str] = set()
    last = {learned.generation: record.task for record, learned in each(records, Trained)}
    found = []
    for record in records:
        made = record.made
        if isinstance(made, Trained) and last[made.generation] == record.task:
            trained.add(made.generation)
        elif isinstance(made, Evaluated) and made.generation in trained:
            found.append(record)
    return found


def moment(records: Sequence[Record]) -> dict[str, Any]:
    """State of the journal: number of records, name of the last one, and its time (UTC)."""
    if not records:
        return {"records": 0, "last": None, "written": None}
    last = records[-1]
    written = datetime.fromtimestamp(last.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"records": len(records), "last": last.task, "written": written}


def made_from(records: Sequence[Record], generation: str, checkpoint: str) -> dict[str, Any]:
    """Provenance that is written to every result of a model.

    Args:
        records: the campaign's journal.
        generation: name of the model's generation.
        checkpoint: SHA-256 of its checkpoint.
    """
    model = models(records).get(generation)
    labels = model.labels if model and model.checkpoint == checkpoint else None
    return {
        "generation": generation,
        "checkpoint": checkpoint,
        "labels": labels,
        "journal": moment(records),
    }


def labels_of(one: Mapping[str, Any], known: Mapping[str, Model]) -> int | None:
    """Number of labels of the model of a free energy; None if it is not known."""
    stored = one.get("made_from", {}).get("labels")
    model = known.get(str(one.get("checkpoint")))
    return stored if stored is not None else model.labels if model else None


def outdated(one: Mapping[str, Any], now: Mapping[str, Model], known: Mapping[str, Model]) -> str:
    """Why a free energy is not that of the campaign's present generation; empty if it is.

    Args:
        one: a free energy, as written by `phasewalk fes`.
        now: the campaign's models.
        known: these and earlier ones.
    """
    name, checkpoint = str(one["generation"]), one.get("checkpoint")
    model, labels = now.get(name), labels_of(one, known)
    count = "" if labels is None else f" ({labels} labels)"
    title = "final model" if name == FINAL else f"generation {name}"
    if model is not None and model.checkpoint == checkpoint:
        return ""
    if model is None:
        return f"of a {title}{count} that the campaign no longer has"
    return f"of an earlier {title}{count}"


def walked_otherwise(before: Mapping[str, Any] | None, settings: SystemSettings | None) -> str:
    """Differences between a free energy's settings and the present ones; empty if there are none.

    Args:
        before: settings of the system, as stored by `phasewalk fes`.
        settings: the present settings.
    """
    if before is None or settings is None:
        return ""
    now = settings.model_dump()
    changes = [
        f"{key} {before[key]} (now {now[key]})"
        for key in SAME
        if key in before and before[key] != now[key]
    ]
    if _definitions(before.get("plumed")) != _definitions(settings.plumed):
        changes.append("another PLUMED text")
    return f"computed with {', '.join(changes)}" if changes else ""


def _definitions(text: str | None) -> list[tuple[object, ...]]:
    """The actions of a PLUMED text without HEIGHT, on which a free energy does not depend.

    Empty if the text cannot be parsed.
    """
    try:
        actions = plumed.parse(text or "")
    except PhasewalkError:
        return []
    return [
        (action.name, action.label, *(w.text for w in action.words if w.key != "HEIGHT"))
        for action in actions
    ]
