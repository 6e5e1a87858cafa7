"""The base of all settings: immutable, typed, and without unknown keys."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

MAX_VALUES, MAX_DEPTH = 100_000, 50
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Settings(BaseModel):
    """A group of settings. Every field describes itself; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )


def values(data: Any) -> Iterator[tuple[str, Any]]:
    """Place and value of all that is nested in settings, keys among them.

    Raises:
        ValueError: there is no end to it (YAML's aliases can hold themselves, or each other).
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
    """ValueError where a text has more than one line, or characters that have no place in one.

    PLUMED's text alone has lines and tabs.
    """
    for place, value in values(data):
        if isinstance(value, str):
            text = re.sub(r"[\n\t]", "", value) if place.endswith(".plumed") else value
            if found := _CONTROL.search(text):
                raise ValueError(f"{place}: the character {found[0]!r} has no place in {value!r}")
