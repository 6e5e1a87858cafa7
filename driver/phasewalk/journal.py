"""The journal: one line for each finished task, with a checksum."""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UNREADABLE, ParseError, named

SCHEMA = 2


@dataclass(frozen=True)
class Record:
    """One finished task.

    Attributes:
        task: what was done, unique in the campaign ("round 2 segment").
        stage: bootstrap, segment, label, train, deploy, evaluate.
        round: 0 for the bootstrap.
        inputs: hash of what the task depends on.
        outputs: what later tasks and the reader need.
        seconds: wall time.
        time: when it ended, seconds since 1970.
    """

    task: str
    stage: str
    round: int
    inputs: str
    outputs: Mapping[str, Any]
    seconds: float
    time: float


def line_of(record: Record) -> bytes:
    """A record as a line of the journal, with the checksum of what stands before it."""
    data = {"schema": SCHEMA, **record.__dict__}
    return json.dumps({**data, "crc": _crc(data)}).encode() + b"\n"


def _crc(data: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(data).encode())


def read_journal(path: Path) -> tuple[dict[str, Record], int]:
    """The finished tasks, and the length of their lines.

    A last line that a kill left unfinished does not count: the next one takes its place.
    """
    records: dict[str, Record] = {}
    if not path.is_file():
        return records, 0
    with named(path):
        content = path.read_bytes()
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            record = _record(json.loads(line))
        except UNREADABLE as error:
            raise ParseError(path, f"not a journal record ({error})", number) from error
        records.pop(record.task, None)
        records[record.task] = record
    return records, content.rfind(b"\n") + 1


def _record(data: dict[str, Any]) -> Record:
    """A record from its line, each field of the kind that it should be."""
    # Journals from before there were checksums are read as they are.
    if "crc" in data and data.pop("crc") != _crc(data):
        raise ValueError("damaged: its checksum is another")
    if data.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    record = Record(**data)
    texts = (record.task, record.stage, record.inputs)
    if not all(isinstance(text, str) for text in texts) or not isinstance(record.outputs, dict):
        raise TypeError("task, stage or inputs are not text, or outputs have no names")
    if type(record.round) is not int or not math.isfinite(record.seconds + record.time):
        raise TypeError("round, seconds or time is not a number")
    return record
