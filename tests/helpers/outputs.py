"""Outputs of a stage for tests that only care about some of them: the rest is empty."""

import json
from dataclasses import replace
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from phasewalk.store.records import Record
from phasewalk.store.records_outputs import BY_STAGE

EMPTY: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, dict: {}, list: []}


def stop_line(step: int, reason: str, **more: Any) -> str:
    """The line of a log with which the plugin stops a walker, as `stop_line` of its sources."""
    empty = {"value": 0.0, "limit": 0.0, "good": None, "says": ""}
    return f"phasewalk/stop: {json.dumps({'step': step, 'reason': reason, **empty, **more})}"


def whole(record: Record) -> Record:
    """The record, with all that its stage must leave."""
    if record.stage not in BY_STAGE or record.failed:
        return record
    return replace(record, outputs=completed(record.stage, dict(record.outputs)))


def completed(stage: str, outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs, with all that their stage must leave."""
    return _filled(BY_STAGE[stage], outputs)


def _filled(kind: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    found = dict(given)
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if key in given or field.is_required():
            found[key] = _value(field.annotation, given.get(key), given=key in given)
    return found


def _value(wanted: Any, value: Any, *, given: bool) -> Any:
    """A value of the kind that is wanted: the given one, completed, or an empty one."""
    origin, kinds = get_origin(wanted), get_args(wanted)
    if type(None) in kinds:
        return None if value is None else _value(kinds[0], value, given=given)
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        return _filled(wanted, value or {})
    if not given:
        return EMPTY[origin if origin in EMPTY else kinds[0] if kinds else wanted]
    if origin is list and isinstance(value, list):
        return [_value(kinds[0], one, given=True) for one in value]
    if origin is dict and isinstance(value, dict):
        return {key: _value(kinds[1], one, given=True) for key, one in value.items()}
    return value
