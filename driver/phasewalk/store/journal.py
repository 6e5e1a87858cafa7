"""The journal: one line for each finished task, with a checksum of all lines up to it."""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UNREADABLE, ParseError, named

SCHEMA = 4
FILES = "files"
"""In a record's outputs: SHA-256 of each file that the task left, by its place in the campaign."""
FAILED, KIND, EARLIER = "failed", "kind", "earlier"
"""In a task's outputs: why it failed, how, and its failed runs before."""


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
        cores: that it occupied; 0 where nothing was started.
    """

    task: str
    stage: str
    round: int
    inputs: str
    outputs: Mapping[str, Any]
    seconds: float
    time: float
    cores: int = 0

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the files that the task left, by their places below the campaign's directory.

        Journals of earlier versions have them of a checkpoint, a deployed model, and of what a
        segment left; the rest is not recorded there.
        """
        told = self.outputs
        for name in ("checkpoint", "file"):
            if name in told and "sha256" in told:
                return {str(told[name]): str(told["sha256"]), **told.get(FILES, {})}
        return dict(told.get(FILES, {}))


def line_of(record: Record, before: int) -> tuple[bytes, int]:
    """A record as a line of the journal, and the checksum of all lines up to it.

    Args:
        record: what the line says.
        before: checksum of the lines before it, so that none can go missing; 0 for the first.
    """
    data = {"schema": SCHEMA, **record.__dict__}
    crc = _crc(data, before)
    return json.dumps({**data, "crc": crc}).encode() + b"\n", crc


def _crc(data: Mapping[str, Any], before: int) -> int:
    return zlib.crc32(json.dumps(data).encode(), before)


def read_journal(path: Path) -> tuple[dict[str, Record], int, int]:
    """The finished tasks, the length of their lines, and the checksum of these.

    A last line that a kill left unfinished does not count: the next one takes its place.
    """
    records: dict[str, Record] = {}
    crc = 0
    if not path.is_file():
        return records, 0, crc
    with named(path):
        content = path.read_bytes()
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            data = json.loads(line)
            crc = _checked(data, crc)
            record = _record(data)
        except UNREADABLE as error:
            raise ParseError(path, f"not a journal record ({error})", number) from error
        records.pop(record.task, None)
        records[record.task] = record
    return records, content.rfind(b"\n") + 1, crc


def _checked(data: dict[str, Any], before: int) -> int:
    """The checksum that a line carries; ValueError where it is another's."""
    crc = data.pop("crc")
    if crc != _crc(data, before):
        raise ValueError("damaged, or a line before it is missing: its checksum is another's")
    return int(crc)


def _record(data: dict[str, Any]) -> Record:
    """A record from its line, each field of the kind that it should be."""
    if data.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    record = Record(**data)
    texts = (record.task, record.stage, record.inputs)
    if not all(isinstance(text, str) for text in texts) or not isinstance(record.outputs, dict):
        raise TypeError("task, stage or inputs are not text, or outputs have no names")
    if not isinstance(record.outputs.get(FILES, {}), dict):
        raise TypeError("the files that it left have no names")
    if type(record.round) is not int or not math.isfinite(record.seconds + record.time):
        raise TypeError("round, seconds or time is not a number")
    return record
