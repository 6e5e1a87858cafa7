"""Read a YAML file into settings. Each error message is one line: place, problem, solution."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from . import mistakes, yaml_mistakes
from .errors import InputError, brief
from .settings import Settings, check_text

Read = TypeVar("Read", bound=Settings)


def parse(text: str, where: str, model: type[Read]) -> Read:
    """Read settings from YAML text.

    Args:
        text: the text.
        where: name of the file, for messages.
        model: the settings that it contains.

    Raises:
        InputError: one line for the first error.
    """
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # they are valid, and the last one counts
        data = yaml.load(text)
    except Exception as error:
        raise InputError(f"{where}{yaml_mistakes.found(error, text)}") from error
    if not isinstance(data, dict):
        kind = "nothing" if data is None else "a list" if isinstance(data, list) else "a value"
        raise InputError(f"{where}: expected `key: value` lines, found {kind}")
    try:
        settings = model.model_validate(data)
        check_text(data)  # before code that expands aliases
        # Dates and lone surrogates cannot be written to the files of the campaign.
        json.dumps(settings.model_dump(), ensure_ascii=False, allow_nan=False).encode()
    except ValidationError as error:
        raise InputError(f"{where}: {brief(_first(error, model))}") from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}: a value is neither text nor a number ({brief(error)}); write it as text or "
            "number"
        ) from error
    return settings


def _first(error: ValidationError, model: type[Settings]) -> str:
    """The first error; unknown keys first, because they may be misspelled required keys."""
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    first = found[0]
    location = first["loc"]
    place = mistakes.place(location)
    if first["type"] == "extra_forbidden":
        known = _fields(location[:-1], model)
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{place}: unknown key; {hint}{more}"
    return f"{place}: {mistakes.message(first, _fields(location, model))}{more}"


def _fields(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """Valid keys at a location of the settings; empty if it is a value."""
    kind: Any = model
    for part in location:
        kinds = list(_kinds(kind))
        groups = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
        named = [get_args(one)[-1] for one in kinds if get_origin(one) in (dict, Mapping)]
        if groups:
            info = groups[0].model_fields.get(str(part))
            kind = info.annotation if info else None
        else:  # the name of a group in a mapping of them
            kind = named[0] if named else None
    for one in _kinds(kind):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return list(one.model_fields)
    return []


def _kinds(annotation: Any) -> Iterator[Any]:
    """A type, or all types of a union."""
    if get_origin(annotation) in (dict, Mapping, list, tuple):
        yield annotation
    elif get_args(annotation):
        for one in get_args(annotation):
            yield from _kinds(one)
    else:
        yield annotation
