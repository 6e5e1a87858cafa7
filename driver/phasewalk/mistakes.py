"""Messages for errors in a settings file, in terms of the file."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEY = "[key]"
"""Pydantic's name for an error in a key."""
NAMES = "use at most 40 letters, digits, - and _, starting with a letter or digit"
VARIABLES = "use letters, digits and _, starting with a letter or _"
NUMBERS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
SECTIONS = ("model_type", "model_attributes_type", "dict_type", "dict_attributes_type")
SHOWN = 60
"""Maximum length of a value in a message."""
LISTS = ("list_type", "tuple_type", "set_type", "frozen_set_type")


def place(location: Sequence[int | str]) -> str:
    """Location of an error: `model.species, entry 1`, `systems: the name 'my salt'`."""
    parts = [part for part in location if part != KEY]
    if len(parts) < len(location) and parts:
        return f"{_dotted(parts[:-1])}: the name {parts[-1]!r}"
    return _dotted(parts) or "the file"


def _dotted(parts: Sequence[int | str]) -> str:
    text = ""
    for part in parts:
        if text and type(part) is int:
            text += f", entry {part + 1}"
        else:
            text += f".{part}" if text else str(part)
    return text


def message(error: Mapping[str, Any], known: Sequence[str]) -> str:
    """The required change and the value found.

    Args:
        error: an error of pydantic.
        known: valid keys at its location.
    """
    kind, limits, value = str(error["type"]), error.get("ctx") or {}, error.get("input")
    if error["loc"][-1:] == (KEY,):  # the value is named by the place
        variable = str(limits.get("pattern")).startswith("^[A-Za-z_]")
        return "put it in quotes" if kind == "string_type" else VARIABLES if variable else NAMES
    if kind in NUMBERS:
        name, words = NUMBERS[kind]
        return f"{words} {limits[name]:g}{_found(value)}"
    if kind in SECTIONS:
        return _section(value, known)
    if kind in LISTS:
        words = ", ".join(value.split()) if isinstance(value, str) else "a, b"
        return f"must be a list: [{words}]{_found(value)}"
    words_for = _WORDS.get(kind)
    return words_for(limits, value) if words_for else f"{_plain(str(error['msg']))}{_found(value)}"


def _found(value: Any) -> str:
    """The value found, if it is short."""
    if isinstance(value, str | int | float | bool | None):
        with contextlib.suppress(ValueError):  # a number of more than 4300 digits has no repr
            shown = "nothing" if value is None else repr(value)
            return f" (got {shown})" if len(shown) <= SHOWN else ""
    return ""


def _section(value: Any, known: Sequence[str]) -> str:
    what = f"`key: value` lines ({', '.join(known)})" if known else "`name: value` lines"
    if value is None:
        return f"is empty; add {what}, or remove it"
    return f"must contain {what}{_found(value)}"


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
    """A hint if a text starts with a number."""
    starts = isinstance(value, str) and value.strip()[:1].isdigit()
    return ", without quotes or unit (the key says which unit it is in)" if starts else ""


def _choice(limits: Mapping[str, Any], value: Any) -> str:
    expected = str(limits.get("expected", ""))
    choices = expected.replace("'", "")
    same = isinstance(value, str) and f"'{value.lower()}'" in expected.lower()
    hint = "; it is case-sensitive" if same else ""
    return f"must be {choices}{hint}{_found(value)}"


def _pattern(limits: Mapping[str, Any], value: Any) -> str:
    """An example of the required format, in place of its regular expression."""
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
    "invalid_key": lambda limits, value: "is not a key; keys are text",
    "string_too_short": lambda limits, value: "must not be empty",
    "too_short": lambda limits, value: f"needs at least {limits.get('min_length', 1)} entry",
    "too_long": lambda limits, value: f"may have at most {limits.get('max_length')} entries",
    "missing": lambda limits, value: "is required",
}
