"""What is wrong with a value in a settings file, in the words of who wrote the file."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEY = "[key]"
"""What pydantic calls the place of a mistake in a key."""
NAMES = "use letters, digits, - and _, beginning with a letter or digit, 40 at most"
NUMBERS = {
    "greater_than": ("gt", "must be above"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be below"),
    "less_than_equal": ("le", "must be at most"),
}
SECTIONS = ("model_type", "model_attributes_type", "dict_type", "dict_attributes_type")
LISTS = ("list_type", "tuple_type", "set_type", "frozen_set_type")


def place(location: Sequence[int | str]) -> str:
    """Where it is: `model.species, entry 1`, `systems: the name 'my salt'`."""
    parts = [part for part in location if part != KEY]
    if len(parts) < len(location) and parts:
        return f"{_dotted(parts[:-1])}: the name {parts[-1]!r}"
    return _dotted(parts) or "the file"


def _dotted(parts: Sequence[int | str]) -> str:
    told = ""
    for part in parts:
        if told and type(part) is int:
            told += f", entry {part + 1}"
        else:
            told += f".{part}" if told else str(part)
    return told


def told(error: Mapping[str, Any], known: Sequence[str]) -> str:
    """What must be changed, and what was found.

    Args:
        error: one of pydantic's.
        known: keys that are known at its place.
    """
    kind, limits, value = str(error["type"]), error.get("ctx") or {}, error.get("input")
    if error["loc"][-1:] == (KEY,):  # the value is named by the place
        return "put it in quotes" if kind == "string_type" else NAMES
    if kind in NUMBERS:
        name, words = NUMBERS[kind]
        return f"{words} {limits[name]:g}{_found(value)}"
    if kind in SECTIONS:
        return _section(value, known)
    if kind in LISTS:
        words = ", ".join(value.split()) if isinstance(value, str) else "a, b"
        return f"must be a list: [{words}]{_found(value)}"
    told = _WORDS.get(kind)
    return told(limits, value) if told else f"{_plain(str(error['msg']))}{_found(value)}"


def _found(value: Any) -> str:
    """What was given, if it is short."""
    if isinstance(value, str | int | float | bool | None):
        with contextlib.suppress(ValueError):  # a number of more than 4300 digits has no repr
            return f" (got {'nothing' if value is None else repr(value)})"
    return ""


def _section(value: Any, known: Sequence[str]) -> str:
    what = f"`key: value` lines ({', '.join(known)})" if known else "`name: value` lines"
    if value is None:
        return f"is empty; give it {what}, or remove it"
    return f"must hold {what}{_found(value)}"


def _text(limits: Mapping[str, Any], value: Any) -> str:
    quotes = "" if isinstance(value, list | dict | tuple) or value is None else "; put it in quotes"
    return f"must be text{quotes}{_found(value)}"


def _whole(limits: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"must be a whole number; write {int(value)}{_found(value)}"
    return f"must be a whole number{_bare(value)}{_found(value)}"


def _number(limits: Mapping[str, Any], value: Any) -> str:
    return f"must be a number{_bare(value)}{_found(value)}"


def _bare(value: Any) -> str:
    """A hint if a text begins with a number."""
    starts = isinstance(value, str) and value.strip()[:1].isdigit()
    return ", without quotes or unit (the key says which unit it is in)" if starts else ""


def _choice(limits: Mapping[str, Any], value: Any) -> str:
    expected = str(limits.get("expected", ""))
    choices = expected.replace("'", "")
    same = isinstance(value, str) and f"'{value.lower()}'" in expected.lower()
    hint = "; small and capital letters differ" if same else ""
    return f"must be {choices}{hint}{_found(value)}"


def _pattern(limits: Mapping[str, Any], value: Any) -> str:
    """What a text that has a form looks like; nobody reads its regular expression."""
    form = str(limits.get("pattern"))
    if ":" in form:
        return f"write module:function, as in my_labels:label{_found(value)}"
    if r"\." in form:
        return f"write an import path, as in gpaw.GPAW{_found(value)}"
    return f"{NAMES}{_found(value)}"


def _plain(message: str) -> str:
    for before in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(before)
    return message.replace("Input should be", "must be").replace("a valid ", "a ")


_WORDS: Mapping[str, Callable[[Mapping[str, Any], Any], str]] = {
    "string_pattern_mismatch": _pattern,
    "string_type": _text,
    "int_type": _whole,
    "int_from_float": _whole,
    "int_parsing": _whole,
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": lambda limits, value: f"must be a finite number{_found(value)}",
    "bool_type": lambda limits, value: f"must be true or false{_found(value)}",
    "literal_error": _choice,
    "invalid_key": lambda limits, value: "is no key: keys are text",
    "string_too_short": lambda limits, value: "must not be empty",
    "too_short": lambda limits, value: f"needs at least {limits.get('min_length', 1)} entry",
    "too_long": lambda limits, value: f"may have at most {limits.get('max_length')}",
    "missing": lambda limits, value: "is required",
}
