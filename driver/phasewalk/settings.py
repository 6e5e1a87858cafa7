"""The base of all settings: immutable, typed, and without unknown keys."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

MAX_VALUES, MAX_DEPTH = 100_000, 50
_LINES = re.compile(r"(systems\.[^.]*\.)?plumed")
"""Texts of several lines."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Settings(BaseModel):
    """A group of settings. Every field has a description; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )


def values(data: Any) -> Iterator[tuple[str, Any]]:
    """Location and value of everything nested in settings, including keys.

    Raises:
        ValueError: there is no end (YAML aliases may contain themselves or each other).
    """
    todo, count = [("", 0, data)], 0
    while todo:
        place, depth, value = todo.pop()
        yield place, value
        if isinstance(value, list | tuple | set):
            value = dict(enumerate(value))
        for key, item in value.items() if isinstance(value, dict) else ():
            todo += [(place, MAX_DEPTH, key), (f"{place}.{key}".strip("."), depth + 1, item)]
        count += 1
        if depth > MAX_DEPTH or count + len(todo) > MAX_VALUES:
            raise ValueError(
                f"more than {MAX_VALUES} values, or nested more than {MAX_DEPTH} times"
            )


def check_text(data: Any) -> None:
    """ValueError if a text contains control characters or more than one line.

    Only PLUMED input may contain newlines and tabs.
    """
    for place, value in values(data):
        if isinstance(value, str):
            text = re.sub(r"[\n\t]", "", value) if _LINES.fullmatch(place) else value
            if found := _CONTROL.search(text):
                raise ValueError(f"{place}: invalid character {found[0]!r} in {value!r}")
