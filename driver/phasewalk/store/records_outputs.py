"""What each stage of a campaign leaves, typed, as the journal has it.

Read strictly. What earlier versions did not write has a default; what a model does not name is
kept, and not looked at.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from .records_names import (
    ATOM,
    BOOTSTRAP,
    COMPILE,
    DEPLOY,
    END,
    EVALUATE,
    LABEL,
    LOCATED,
    SEGMENT,
    STEER,
    STOP,
    TRAIN,
    VERSIONS,
)

Number = int | float


class Part(BaseModel):
    """A part of what a journal says: read strictly, with whatever else it holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", populate_by_name=True)

    def dump(self) -> dict[str, Any]:
        """As the journal has it: what was given, and no default."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class Try(Part):
    """A failed run of a task, before the one that its record is of."""

    seconds: Number
    cores: int
    time: Number | None = None
    kind: str | None = None
    failed: Any = None


class Outputs(Part):
    """What a task left.

    Attributes:
        files: SHA-256 of each file that the task left, by its place in the campaign.
        earlier: failed runs of the same task.
    """

    STAGE: ClassVar[str] = ""
    files: dict[str, str] = {}
    earlier: list[Try] = []


class Failed(Outputs):
    """A task that failed: why, and how (of `CRASH` …; empty where that is not noted)."""

    failed: Any
    kind: str = ""

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.failed)


class Labelled(Outputs):
    """A label: its key, where its frame comes from, and how it was made."""

    STAGE = LABEL
    key: str
    origin: dict[str, Any]
    level: str = ""
    place: str = ""
    number: int | None = Field(default=None, alias="try")
    guess: bool | None = None
    changes: Any = None
    reused: bool = False


class Epoch(Part):
    """The last epoch of a training, by its own time (seconds since 1970)."""

    at: Number


class NetworkStatistics(Part):
    """What the network takes from the labels; see `models.Statistics`."""

    energy_shifts: list[Number]


class Trained(Outputs):
    """A generation's training."""

    STAGE = TRAIN
    generation: str
    checkpoint: str
    weights: str
    eager: str
    sha256: str
    epochs: Number
    last_epoch: Epoch
    validation: dict[str, Any] | None = None
    training_labels: int
    validation_labels: int
    statistics: NetworkStatistics


class Compilation(Outputs):
    """A compiled network; `place` is None if weights cannot be written into it."""

    STAGE = COMPILE
    mode: str = ""
    graph: str = ""
    place: str | None = None
    why: str = ""


class DeployedModel(Outputs):
    """A generation's model as LAMMPS runs it; `compiled` is None if it was compiled alone."""

    STAGE = DEPLOY
    generation: str
    file: str
    sha256: str
    mode: str
    stamp: dict[str, Any]
    compiled: str | None = None
    seconds: Number = 0.0
    why: str = ""
    again: bool


class MeasuredErrors(Part):
    """Errors on frames, as `evaluation.Errors` names them."""

    force_mae_meV_per_A: Number
    force_rmse_meV_per_A: Number
    force_rms_meV_per_A: Number
    pressure_mae_GPa: Number
    pressure_rmse_GPa: Number
    energy_offset_meV_per_atom: Number
    energy_scatter_meV_per_atom: Number | None

    def value(self, name: str) -> float | None:
        """An error by its name; None if it is not known."""
        return getattr(self, name, None)


class FrameErrors(Part):
    """How wrong the model is on one walker's frame."""

    walker: str
    force_error_ratio: Number


class Proof(Part):
    """What the proof of a deployed model gave."""

    checks: int
    warnings: list[str]


class Evaluated(Outputs):
    """Errors of a generation on the round's new frames and on the test set."""

    STAGE = EVALUATE
    generation: str
    frames: str | None = None
    new: MeasuredErrors | None
    test: MeasuredErrors | None
    each: list[FrameErrors] = []
    seconds_per_step: Number
    proof: Proof | None = None


class SoftStop(Part):
    """Why the sentinel, or PLUMED, ended a walker's segment."""

    reason: str


class Walked(Part):
    """What a segment made of one walker."""

    walker: str
    system: str
    steps_done: int
    halted: str | None
    stop: SoftStop | None = None
    candidate_step: int | None = None
    candidate: str = ""
    volume_A3: Number | None = None
    mean_temperature_K: Number | None = None
    colvars: list[dict[str, Any]] = []
    hills: int = 0
    seconds: Number | None = None


class HillCounts(Part):
    """Hills that a segment laid, and those of it that are in the record of its system."""

    deposited: int
    expected: int
    in_record: int
    active: int
    total: int = 0


class Segment(Outputs):
    """A segment of all walkers; `hills` are counts by system, `deck` the version of the deck."""

    STAGE = SEGMENT
    generation: int
    deck: int = 1
    walkers: list[Walked]
    hills: dict[str, HillCounts]


class Begun(Part):
    """Where a walker begins a round; see `steering.Decision`."""

    walker: str
    source: str
    why: str


class Steered(Outputs):
    """Where all walkers begin a round."""

    STAGE = STEER
    walkers: list[Begun]


class Located(Outputs):
    """Collective variables of labelled frames: values by the key of the label."""

    STAGE = LOCATED
    system: str
    names: list[str]
    values: dict[str, list[Number]]
    test: bool = False


class JudgedRule(Part):
    """A rule of `stop:` as it was judged; see `stopping.Rule`."""

    rule: str
    kind: str
    met: bool
    says: str


class Judged(Outputs):
    """The rules after a round, and the keys of those that ended the campaign."""

    STAGE = STOP
    rules: list[JudgedRule]
    ended_by: list[str]


class Ended(Outputs):
    """What ended the campaign."""

    STAGE = END
    by: list[str] = []


class Versions(Outputs):
    """Versions of the engines."""

    STAGE = VERSIONS
    versions: dict[str, Any]


class Drawn(Outputs):
    """The perturbed structures of round 0: how many, and with which settings."""

    STAGE = BOOTSTRAP
    frames: int = 0
    drawn_with: dict[str, Any] | None = None


class Atom(Outputs):
    """The energy of an isolated atom, eV."""

    STAGE = ATOM
    energy_eV: Number


class Imported(Outputs):
    """Labels that were there already, by their keys."""

    labels: list[str]


class CacheName(Outputs):
    """What this campaign is called in the cache."""

    name: str


class Believed(Outputs):
    """Whether what another campaign left in the cache is believed."""

    believed: bool
    found: str = ""


BY_STAGE: Mapping[str, type[Outputs]] = {
    kind.STAGE: kind
    for kind in (
        *(Labelled, Trained, Compilation, DeployedModel, Evaluated, Segment, Steered, Located),
        *(Judged, Ended, Versions, Drawn, Atom),
    )
}
