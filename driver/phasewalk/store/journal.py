"""The journal: one line per finished task, with a checksum of all lines up to it."""

import json
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from ..errors import UNREADABLE, ParseError, named
from ..files import fault_of
from .records import WHERE, Record
from .records_parts import Number

SCHEMA = 4
CRC = b', "crc": '
"""Text before the checksum at the end of a line."""
Finite = Annotated[Number, Field(allow_inf_nan=False)]


class _Outputs(BaseModel):
    """The part of the outputs that all stages have; see `records` for the rest."""

    model_config = ConfigDict(strict=True, extra="ignore")

    files: dict[str, str] = {}


class _Line(BaseModel):
    """Content of a line; `cores` is missing in journals of earlier versions, `where` in most."""

    model_config = ConfigDict(strict=True, extra="forbid")

    version: Literal[4] = Field(alias="schema")
    task: str
    stage: str
    round: int
    inputs: str
    outputs: _Outputs
    seconds: Finite
    time: Finite
    cores: int = 0
    where: dict[str, Any] | None = None
    crc: int


_FIELDS = tuple(one.name for one in fields(Record) if one.compare)
"""Fields of a record in a line, in this order."""


def line_of(record: Record, before: int) -> tuple[bytes, int]:
    """A record as a line of the journal, and the checksum of all lines up to it.

    Args:
        record: the record.
        before: checksum of the lines before it, so that a missing line is found; 0 for the first.
    """
    data = {"schema": SCHEMA, **{name: getattr(record, name) for name in _FIELDS}}
    if record.where is None:
        del data[WHERE]
    body = json.dumps(data).encode()
    crc = zlib.crc32(body, before)
    return body[:-1] + CRC + f"{crc}}}\n".encode(), crc


def read_journal(path: Path) -> tuple[dict[str, Record], int, int]:
    """Read the records of finished tasks, the length of their lines (bytes) and their checksum.

    An incomplete last line, left by a kill, is ignored; the next record overwrites it.

    Raises:
        ParseError: a line is damaged or is not a record; names the line.
    """
    records: dict[str, Record] = {}
    crc = 0
    if not path.is_file():
        return records, 0, crc
    with named(path):
        content = path.read_bytes()
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            crc = zlib.crc32(line.rpartition(CRC)[0] + b"}", crc)
            record = _record(_data(line), crc, path)
        except ValidationError as error:
            raise ParseError(path, f"not a journal record ({fault_of(error)})", number) from error
        except UNREADABLE as error:
            raise ParseError(path, f"not a journal record ({error})", number) from error
        records.pop(record.task, None)
        records[record.task] = record
    return records, content.rfind(b"\n") + 1, crc


def _data(line: bytes) -> Any:
    """The data of a line.

    The first reader keeps each key once for all lines, which takes half of the memory; the second
    one accepts all that `line_of` writes, also half a pair of surrogates in a file's name.
    """
    try:
        return from_json(line, cache_strings="keys")
    except ValueError:
        return json.loads(line)


def _record(data: Any, crc: int, path: Path) -> Record:
    """A record from its line; ValueError if the line is damaged or its checksum is wrong."""
    line = _Line.model_validate(data)
    if line.crc != crc:
        raise ValueError("wrong checksum: the line is damaged, or a line before it is missing")
    return Record(**{name: data[name] for name in _FIELDS if name in data}, source=path)
