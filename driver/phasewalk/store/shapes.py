"""What a record of the journal holds, by its stage: so that one that lacks something is named.

Only what is read without asking whether it is there. What earlier versions did not write is not
asked for.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UNREADABLE, ParseError, PhasewalkError
from .directory import JOURNAL, read_campaign
from .journal import Record

FAILED = "failed"
_NUMBER = (int, float)
_MAYBE_TEXT = (str, type(None))
_NAMES = (
    *("force_mae_meV_per_A", "force_rmse_meV_per_A", "force_rms_meV_per_A"),
    *("pressure_mae_GPa", "pressure_rmse_GPa"),
)
_ERRORS = dict.fromkeys(_NAMES, _NUMBER)
_WALKER = {"walker": str, "system": str, "steps_done": int, "halted": _MAYBE_TEXT}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "label": {"key": str, "origin": dict},
    "train": {
        "generation": str, "checkpoint": str, "weights": str, "eager": str, "sha256": str,
        "epochs": _NUMBER, "last_epoch": {"at": _NUMBER}, "training_labels": int,
        "validation_labels": int, "statistics": {"energy_shifts": list},
    },
    "deploy": {
        "generation": str, "file": str, "sha256": str, "mode": str, "stamp": dict, "again": bool,
    },
    "evaluate": {
        "generation": str, "seconds_per_step": _NUMBER, "new": (_ERRORS, None),
        "test": (_ERRORS, None),
    },
    "segment": {"generation": int, "walkers": [_WALKER], "hills": dict},
    "steer": {"walkers": [{"walker": str, "source": str, "why": str}]},
    "colvars": {"system": str, "names": list, "values": dict},
    "stop": {
        "rules": [{"rule": str, "kind": str, "met": bool, "says": str}], "ended_by": list,
    },
    "versions": {"versions": dict},
}  # fmt: skip


def fault(records: Iterable[Record]) -> str:
    """The first record that does not hold what its stage needs, in words; empty if all do."""
    for record in records:
        shape = SHAPES.get(record.stage, {})
        if FAILED in record.outputs or not shape:
            continue
        if told := _fault(record.outputs, shape, ""):
            return f"{record.task!r} does not hold what it should: {told}"
    return ""


def _fault(found: Any, shape: Any, name: str) -> str:
    """What is wrong with one thing; its name begins with a dot inside of another."""
    if isinstance(shape, Mapping):
        if not isinstance(found, Mapping):
            return f"{name or 'outputs'} has no names"
        lacks = next((key for key in shape if key not in found), None)
        if lacks is not None:
            return f"{f'{name}.' if name else ''}{lacks} is missing"
        inner = (_fault(found[k], s, f"{name}.{k}" if name else k) for k, s in shape.items())
        return next(filter(None, inner), "")
    if isinstance(shape, list):
        if not isinstance(found, list):
            return f"{name} is no list"
        inner = (_fault(one, shape[0], f"{name}[{n}]") for n, one in enumerate(found))
        return next(filter(None, inner), "")
    if isinstance(shape, tuple) and None in shape:
        return "" if found is None else _fault(found, shape[0], name)
    good = isinstance(found, shape) and (shape is bool or not isinstance(found, bool))
    return "" if good else f"{name} is {str(found)[:40]!r}"


@contextlib.contextmanager
def journalled(root: Path | str, *, else_ours: bool = False) -> Iterator[None]:
    """ParseError where a record lacks what is to be made of it; names the record and what it is.

    Args:
        root: the campaign's directory.
        else_ours: if all records hold what they should, an error is the program's, and stays.
    """
    try:
        yield
    except (PhasewalkError, OSError):
        raise
    except UNREADABLE as error:
        told = fault(read_campaign(Path(root)).records())
        if not told and else_ours:
            raise
        told = told or f"a record does not hold what it should ({error!r})"
        raise ParseError(Path(root) / JOURNAL, f"{told}; restore it from a backup") from error
