"""Records of finished tasks. The outputs of each stage are defined in `records_outputs`.

A record keeps its outputs as they were written, so that a rewritten journal has the same bytes;
`Record.made` and `Record.of` return them as typed models.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ..errors import ParseError
from ..files import fault_of
from .records_names import ADDED, END, IMPORT, INITIAL, NAMED, is_final, is_late_at_end
from .records_outputs import BY_STAGE, Believed, CacheName, Failed, Imported
from .records_parts import Outputs, Try

FILES = "files"
"""Key of a record's outputs: SHA-256 of each output file, by its path in the campaign."""
FAILED, KIND, EARLIER = "failed", "kind", "earlier"
"""Keys of a record's outputs: reason of a failure, its kind, and earlier failed runs."""
WHERE = "where"
"""Key of a record, and of earlier failed runs: where on a site its job ran."""
CRASH, TIME_LIMIT, UNCONVERGED, REFUSED = "crash", "time limit", "not converged", "refused"
"""Kinds of failures: program error, time limit, no convergence, or an implausible result."""

M = TypeVar("M", bound=Outputs)


@dataclass(frozen=True)
class Record:
    """One finished task.

    Attributes:
        task: name of the task, unique in the campaign ("segment 2").
        stage: `LABEL`, `TRAIN` ….
        round: number of the round; 0 for the bootstrap.
        inputs: hash of everything that the task depends on.
        outputs: results that later tasks and reports need.
        seconds: wall time.
        time: end of the task, seconds since 1970.
        cores: number of cores used; 0 if no program was started.
        where: where on a site its job ran, see `phasewalk.where`; None without one.
        source: the journal from which it was read, for messages; not part of the record.
    """

    task: str
    stage: str
    round: int
    inputs: str
    outputs: Mapping[str, Any]
    seconds: float
    time: float
    cores: int = 0
    where: Mapping[str, Any] | None = None
    source: Path | None = field(default=None, compare=False, repr=False)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the output files of the task, by their paths in the campaign.

        Journals of earlier versions have them only for checkpoints, deployed models and segments.
        """
        outputs = self.outputs
        for name in ("checkpoint", "file"):
            if name in outputs and "sha256" in outputs:
                return {str(outputs[name]): str(outputs["sha256"]), **outputs.get(FILES, {})}
        return dict(outputs.get(FILES, {}))

    @property
    def failed(self) -> bool:
        """Whether the task failed."""
        return FAILED in self.outputs

    @property
    def failure(self) -> Failed | None:
        """Reason and kind of the failure; None if the task did not fail."""
        return self.made if isinstance(self.made, Failed) else None

    @property
    def earlier(self) -> list[Try]:
        """Earlier failed runs of the same task."""
        return self.made.earlier

    @cached_property
    def made(self) -> Outputs:
        """The outputs, as the type of their stage.

        Raises:
            ParseError: the outputs are invalid; names the journal, the task and the field.
        """
        return self._as(_kind_of(self))

    def of(self, kind: type[M]) -> M:
        """The outputs as the given type; ParseError if they do not have this type."""
        return self.made if isinstance(self.made, kind) else self._as(kind)

    def _as(self, kind: type[M]) -> M:
        try:
            return kind.model_validate(self.outputs)
        except ValidationError as error:
            where = self.source or "the journal"
            what = f"{self.task!r} is not a valid record: {fault_of(error)}"
            raise ParseError(where, f"{what}; restore it from a backup") from error


def _kind_of(record: Record) -> type[Outputs]:
    """The type of a record's outputs, by its stage; for imports, by its task."""
    if FAILED in record.outputs:
        return Failed
    if record.stage != IMPORT:
        return BY_STAGE.get(record.stage, Outputs)
    if "believed" in record.outputs:
        return Believed
    if _source(record.task):
        return Imported
    imports: dict[str, type[Outputs]] = {INITIAL: Imported, NAMED: CacheName}
    return imports.get(record.task, Outputs)


def added(records: Iterable[Record]) -> list[Record]:
    """The records of labels that free energies and production runs have added to the campaign."""
    return [one for one in records if one.stage == IMPORT and _source(one.task)]


def added_from(records: Iterable[Record]) -> dict[str, int]:
    """Number of these labels by source, FREE_ENERGY or PRODUCTION."""
    found = dict.fromkeys(ADDED, 0)
    for one in added(records):
        found[_source(one.task)] += len(one.of(Imported).labels)
    return found


def _source(task: str) -> str:
    """Where labels were added from, by the name of the task; empty for other tasks."""
    return next((name for name, begin in ADDED.items() if task.startswith(begin)), "")


def by_round(records: Iterable[Record]) -> dict[int, list[Record]]:
    """Records of each round, in their order."""
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.round, []).append(record)
    return found


def each(records: Iterable[Record], kind: type[M]) -> Iterator[tuple[Record, M]]:
    """The records of a stage that did not fail, with their outputs."""
    for record in records:
        if record.stage == kind.STAGE and not record.failed:
            yield record, record.of(kind)


def failures(records: Iterable[Record], stage: str) -> Iterator[tuple[Record, Failed]]:
    """The failed records of a stage, with reason and kind of the failure."""
    for record in records:
        if record.stage == stage and (failure := record.failure) is not None:
            yield record, failure


def at_end(record: Record) -> bool:
    """Whether a record belongs to the end of the campaign, in any round."""
    return record.stage == END or is_final(record.task) or is_late_at_end(record.task)
