"""The journal's records: finished tasks. What their stages leave is in `records_outputs`.

A record keeps its outputs as they were written, so that a journal that is written again has the
same bytes; `Record.made` and `Record.of` give them as models.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ..errors import ParseError
from ..files import fault_of
from .records_names import END, IMPORT, INITIAL, NAMED, is_final
from .records_outputs import BY_STAGE, Believed, CacheName, Failed, Imported, Outputs, Try

FILES = "files"
"""In a record's outputs: SHA-256 of each file that the task left, by its place in the campaign."""
FAILED, KIND, EARLIER = "failed", "kind", "earlier"
"""In a task's outputs: why it failed, how, and its failed runs before."""
CRASH, TIME_LIMIT, UNCONVERGED, REFUSED = "crash", "time limit", "not converged", "refused"
"""How a task fails: the program, its time limit, its calculation, or a result not believed."""

M = TypeVar("M", bound=Outputs)


@dataclass(frozen=True)
class Record:
    """One finished task.

    Attributes:
        task: what was done, unique in the campaign ("round 2 segment").
        stage: of `LABEL`, `TRAIN` ….
        round: 0 for the bootstrap.
        inputs: hash of what the task depends on.
        outputs: what later tasks and the reader need, as it is written.
        seconds: wall time.
        time: when it ended, seconds since 1970.
        cores: that it occupied; 0 where nothing was started.
        source: the journal that it was read from, for messages; no part of what it says.
    """

    task: str
    stage: str
    round: int
    inputs: str
    outputs: Mapping[str, Any]
    seconds: float
    time: float
    cores: int = 0
    source: Path | None = field(default=None, compare=False, repr=False)

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

    @property
    def failed(self) -> bool:
        """Whether the task failed."""
        return FAILED in self.outputs

    @property
    def failure(self) -> Failed | None:
        """Why and how it failed; None where it did not."""
        return self.made if isinstance(self.made, Failed) else None

    @property
    def earlier(self) -> list[Try]:
        """Failed runs of the same task before."""
        return self.made.earlier

    @cached_property
    def made(self) -> Outputs:
        """What it left, as its stage has it.

        Raises:
            ParseError: it does not hold what it should; names the journal, the task and the field.
        """
        return self._as(_kind_of(self))

    def of(self, kind: type[M]) -> M:
        """What it left, as one kind of outputs; ParseError where it is not of that kind."""
        return self.made if isinstance(self.made, kind) else self._as(kind)

    def _as(self, kind: type[M]) -> M:
        try:
            return kind.model_validate(self.outputs)
        except ValidationError as error:
            told = f"{self.task!r} does not hold what it should: {fault_of(error)}"
            where = self.source or "the journal"
            raise ParseError(where, f"{told}; restore it from a backup") from error


def _kind_of(record: Record) -> type[Outputs]:
    """The outputs that a record's stage has; those of an import differ by their task."""
    if FAILED in record.outputs:
        return Failed
    if record.stage != IMPORT:
        return BY_STAGE.get(record.stage, Outputs)
    if "believed" in record.outputs:
        return Believed
    imports: dict[str, type[Outputs]] = {INITIAL: Imported, NAMED: CacheName}
    return imports.get(record.task, Outputs)


def by_round(records: Iterable[Record]) -> dict[int, list[Record]]:
    """Records of each round, in their order."""
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.round, []).append(record)
    return found


def each(records: Iterable[Record], kind: type[M]) -> Iterator[tuple[Record, M]]:
    """The records of a kind's stage that did not fail, with what they left."""
    for record in records:
        if record.stage == kind.STAGE and not record.failed:
            yield record, record.of(kind)


def failures(records: Iterable[Record], stage: str) -> Iterator[tuple[Record, Failed]]:
    """The failed records of a stage, with why and how they failed."""
    for record in records:
        if record.stage == stage and (failure := record.failure) is not None:
            yield record, failure


def at_end(record: Record) -> bool:
    """Whether a record belongs to the campaign's end, whichever round it counts to."""
    return record.stage == END or is_final(record.task)
