"""The base of all records in the journal: strict types, and what every task leaves."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

Number = int | float


class Part(BaseModel):
    """Base of all parts of a record: strict types, unknown fields are kept."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", populate_by_name=True)

    def dump(self) -> dict[str, Any]:
        """The data for the journal: given fields only, without defaults."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class Try(Part):
    """An earlier, failed run of a task."""

    seconds: Number
    cores: int
    time: Number | None = None
    kind: str | None = None
    failed: Any = None


class Outputs(Part):
    """Outputs of a task.

    Attributes:
        files: SHA-256 of each output file, by its path in the campaign.
        earlier: earlier failed runs of the same task.
    """

    STAGE: ClassVar[str] = ""
    files: dict[str, str] = {}
    earlier: list[Try] = []
