"""Files: atomic writing, strict reading, and hashes."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from pydantic import BeforeValidator, ConfigDict, PlainValidator, TypeAdapter, ValidationError

from .errors import UNREADABLE, InputError, ParseError, brief, named

_BLOCK = 2**20

ANY = ""
"""In place of an unknown hash: any content is accepted."""

MAX_SHOWN = 60
"""Characters of a damaged value that a message shows."""

EXACT = ConfigDict(strict=True, extra="forbid")
"""Of a type that has exactly these fields in its file: `__pydantic_config__` of a dataclass."""

OrNan = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number for which JSON may have null: there it was not finite."""

T = TypeVar("T")
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""What validates a type: to make it takes longer than to use it."""
_BLOCK = 2**22
"""Bytes that are read at a time."""


def hash_of(*parts: Any) -> str:
    """Hash of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def hash_bytes(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_start(path: Path, size: int) -> str | None:
    """SHA-256 of the first `size` bytes of a file; None if it has not as many, or is not there."""
    found = _start(path, size)
    return None if found is None else found.hexdigest()


def extend_file(path: Path, size: int, digest: str, content: bytes) -> str:
    """Make a file its first `size` bytes followed by `content`.

    A file that is this already is not written. A kill leaves the first bytes as they were.

    Args:
        path: the file; with `size` 0 it need not be there.
        size: number of bytes to keep.
        digest: their SHA-256; with `size` 0 it is not looked at.
        content: what follows them.

    Returns:
        The SHA-256 of the whole.

    Raises:
        ParseError: the first bytes are not as they should be.
    """
    found = _start(path, size) if size else hashlib.sha256()
    if found is None or (size and found.hexdigest() != digest):
        raise ParseError(path, f"its first {size} bytes are not as they were written")
    found.update(content)
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch()
        with path.open("r+b") as stream:
            stream.seek(size)
            if path.stat().st_size != size + len(content) or stream.read() != content:
                stream.truncate(size)
                stream.seek(size)
                stream.write(content)
    return found.hexdigest()


def _start(path: Path, size: int) -> "hashlib._Hash | None":
    """SHA-256, so far, of the first `size` bytes of a file; None if it has not as many."""
    found, left = hashlib.sha256(), size
    try:
        with path.open("rb") as stream:
            while left and (block := stream.read(min(left, _BLOCK))):
                found.update(block)
                left -= len(block)
    except OSError:
        return None
    return None if left else found


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    part = path.with_name(f".{path.name}.part")
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)


def marked(file: BinaryIO, mark: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Position and content of each part of a file, from `start` on, that begins with a mark.

    The first part is what is before the first mark if the file does not begin with one; the last
    part of a file that grows may be incomplete.
    """
    file.seek(start)
    text, begin, looked = b"", 0, 1
    while block := file.read(_BLOCK):
        text, start, looked = text[begin:] + block, start + begin, looked - begin
        begin = 0
        while (end := text.find(mark, looked)) >= 0:
            yield start + begin, text[begin:end]
            begin, looked = end, end + 1
        looked = max(begin + 1, len(text) - len(mark) + 1)
    if begin < len(text):
        yield start + begin, text[begin:]


def set_aside(path: Path, why: str) -> Path | None:
    """Rename `path` to `path.why-N`, to keep a failed directory for inspection."""
    if not path.exists():
        return None
    number = 1
    while (target := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    path.rename(target)
    return target


def check_file(path: Path, digest: str) -> None:
    """ParseError if a file is missing or its SHA-256 is not that in the journal.

    With `ANY` in place of the hash it only needs to exist.
    """
    if not path.is_file():
        raise ParseError(path, "is missing, but the journal holds it; restore it from a backup")
    with named(path):
        same = digest in (ANY, file_hash(path))
    if not same:
        raise ParseError(
            path,
            "is not what the journal holds: damaged, or changed; restore it from a backup, or "
            "go back to before it was made: phasewalk rewind (phasewalk verify shows all)",
        )


def read_text(path: Path) -> str:
    """Text of a file, UTF-8; ParseError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ParseError(path, "no such file") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"cannot be read: line {line} is not UTF-8 text; save the file as UTF-8"
        raise ParseError(path, message) from error
    except (OSError, ValueError) as error:
        raise ParseError(path, f"cannot be read ({error})") from error


def read(path: Path, kind: type[T], *, unlike: str = "") -> T:
    """What was written as JSON, as the type that it must be of.

    Args:
        path: the file.
        kind: a pydantic model or a dataclass, or a list or mapping of these.
        unlike: what to say of a file that is no such thing ("not a label"); the default is for
            files of a campaign, which only a backup has again.

    Raises:
        ParseError: it cannot be read, or is of another kind; names the file and the field.
    """
    try:
        found: T = _adapter(kind).validate_json(path.read_bytes(), strict=True)
        return found
    except ValidationError as error:
        fault = fault_of(error)
    except (OSError, MemoryError) as error:
        fault = str(error) or repr(error)
    if unlike:
        raise ParseError(path, f"{unlike} ({fault})")
    raise ParseError(path, f"cannot be read ({fault}); restore it from a backup")


def typed(data: Any, kind: type[T], *, unlike: str, path: Path | str | None = None) -> T:
    """Data from a larger JSON file, or its text, as the type that it must be of; see `read`.

    Args:
        data: what JSON gave; or the whole text, as `str` or `bytes`.
        kind: a pydantic model or a dataclass, or a list or mapping of these.
        unlike: what to say of data that are no such thing ("not a label").
        path: the file that they are from.

    Raises:
        InputError: they are of another kind; a ParseError if there is a `path`.
    """
    try:
        text = data if isinstance(data, str | bytes) else json.dumps(data)
        found: T = _adapter(kind).validate_json(text, strict=True)
        return found
    except ValidationError as error:
        fault = fault_of(error)
    except UNREADABLE as error:
        fault = brief(repr(error))
    if path is None:
        raise InputError(f"{unlike} ({fault})")
    raise ParseError(path, f"{unlike} ({fault})")


def numbers(*shape: int | None) -> PlainValidator:
    """Validates nested lists as an array of floats; None is a length that is not known."""
    wanted = " × ".join("N" if length is None else str(length) for length in shape)

    def make(value: Any) -> Any:
        import numpy as np

        try:
            found = np.array(value, dtype=float)
        except UNREADABLE as error:
            raise ValueError(f"{wanted} numbers") from error
        fits = [length in (None, n) for length, n in zip(shape, found.shape, strict=False)]
        if found.ndim != len(shape) or not all(fits):
            raise ValueError(f"{wanted} numbers")
        return found

    return PlainValidator(make)


def made_by(function: Callable[[Any], Any]) -> PlainValidator:
    """Validates a value by making something of it: what cannot be made of it is refused."""

    def make(value: Any) -> Any:
        try:
            return function(value)
        except UNREADABLE as error:
            raise ValueError(f"something else ({error!r})") from error

    return PlainValidator(make)


def fault_of(error: ValidationError) -> str:
    """The first thing that is wrong with data, in words: which field, and what is expected."""
    first = error.errors(include_url=False)[0]
    where, kind = list(first["loc"]), first["type"]
    number = bool(where) and where[-1] in ("int", "float")  # of a number of either kind
    name = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in (where[:-1] if number else where)
    ).removeprefix(".")
    if kind == "missing":
        return f"{name} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name} is not expected"
    if kind == "json_invalid":
        return str(first["msg"])
    wanted = "a number" if number else _wanted(first["msg"])
    if kind in ("model_type", "dataclass_type", "dict_type"):
        wanted = "names with values"
    found = brief(repr(first["input"]))
    found = found if len(found) <= MAX_SHOWN else f"{found[:MAX_SHOWN]} …"
    return f"{name or 'it'} is {found}, expected {wanted}"


def _wanted(message: str) -> str:
    """What pydantic asks for, as the end of a sentence."""
    for before in ("Input should be ", "Value error, "):
        if message.startswith(before):
            return message.removeprefix(before)
    return message
