"""Outputs of each stage in the journal, as typed models.

Types are checked strictly. Fields that earlier versions did not write have defaults; unknown fields
are kept, but not checked.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from .records_models import (
    Compilation,
    DeployedModel,
    Evaluated,
    ForRanks,
    OtherForm,
    Trained,
    TwoModels,
)
from .records_names import (
    ATOM,
    BOOTSTRAP,
    END,
    HELD_OUT,
    LABEL,
    LATE,
    LOCATED,
    SEGMENT,
    STEER,
    STOP,
    VERSIONS,
)
from .records_parts import Number, Outputs, Part


class Identity(Part):
    """What every campaign's identity has; the rest is for whoever wrote it."""

    version: Any = Field(alias="schema")
    name: str = ""


class Failed(Outputs):
    """A failed task: reason and kind (`CRASH` …; empty if it was not recorded)."""

    failed: Any
    kind: str = ""

    @property
    def reason(self) -> str:
        """The reason as text."""
        return str(self.failed)


class Labelled(Outputs):
    """A label: its key, the origin of its frame, and how it was computed."""

    STAGE = LABEL
    key: str
    origin: dict[str, Any]
    level: str = ""
    place: str = ""
    number: int | None = Field(default=None, alias="try")
    guess: bool | None = None
    changes: Any = None
    reused: bool = False


class LateLabel(Part):
    """A label that was still computed: its key, and its walker (None: of the bootstrap)."""

    key: str
    walker: str | None = None


class Late(Outputs):
    """The labels of a round that join the training of the next generation, not of its own."""

    STAGE = LATE
    labels: list[LateLabel]


class HeldLabel(Part):
    """A label that is not used for training: its key, its walker, and why."""

    key: str
    walker: str
    why: str


class HeldOut(Outputs):
    """The labels of a round that are not used for training."""

    STAGE = HELD_OUT
    labels: list[HeldLabel]


class SoftStop(Part):
    """Why the sentinel or PLUMED stopped a walker."""

    reason: str


class Walked(Part):
    """Result of a segment for one walker; `bond_change`: of its last frame, or why it stopped."""

    walker: str
    system: str
    steps_done: int
    halted: str | None
    stop: SoftStop | None = None
    candidate_step: int | None = None
    candidate: str = ""
    volume_A3: Number | None = None
    mean_temperature_K: Number | None = None
    colvars: list[dict[str, Any]] = Field([])
    hills: int = 0
    seconds: Number | None = None
    bond_change: str | None = None


class HillCounts(Part):
    """Number of hills that a segment deposited, and of those in the record of its system."""

    deposited: int
    expected: int
    in_record: int
    active: int
    total: int = 0


class Segment(Outputs):
    """A segment of all walkers; `hills` are counts by system, `deck` is the deck's version.

    `guarded` lists the systems whose bonds were checked, `limits` are those on errors of new frames
    (see `PolicySettings`); None in records of earlier versions.
    """

    STAGE = SEGMENT
    generation: int
    deck: int = 1
    guarded: list[str] | None = None
    limits: dict[str, Number | None] | None = None
    walkers: list[Walked]
    hills: dict[str, HillCounts]


class Begun(Part):
    """The frame from which a walker starts a round; see `rounds.steer.Decision`."""

    walker: str
    source: str
    why: str
    reason: str = ""


class Steered(Outputs):
    """The frames from which all walkers start a round."""

    STAGE = STEER
    walkers: list[Begun]


class Located(Outputs):
    """Collective variables of labelled frames: values by key of the label."""

    STAGE = LOCATED
    system: str
    names: list[str]
    values: dict[str, list[Number]]
    test: bool = False


class JudgedRule(Part):
    """Result of a stop rule; see `campaign.stop.Rule`."""

    rule: str
    kind: str
    met: bool
    says: str


class Judged(Outputs):
    """Results of the stop rules after a round, and the keys of those that ended the campaign."""

    STAGE = STOP
    rules: list[JudgedRule]
    ended_by: list[str]


class Ended(Outputs):
    """The rules that ended the campaign; none if it was continued later."""

    STAGE = END
    by: list[str] = Field(["rounds"])


class Versions(Outputs):
    """Versions of the engines, and the type of the machine on which segments run."""

    STAGE = VERSIONS
    versions: dict[str, Any]
    machine: dict[str, Any] | None = None


class Drawn(Outputs):
    """The perturbed structures of round 0: their number and settings."""

    STAGE = BOOTSTRAP
    frames: int = 0
    drawn_with: dict[str, Any] | None = None


class Atom(Outputs):
    """The energy of an isolated atom, eV."""

    STAGE = ATOM
    energy_eV: Number


class Imported(Outputs):
    """Keys of imported labels."""

    labels: list[str]


class CacheName(Outputs):
    """Name of this campaign in the cache."""

    name: str


class Believed(Outputs):
    """Whether labels of another campaign in the cache are used."""

    believed: bool
    found: str = ""


BY_STAGE: Mapping[str, type[Outputs]] = {
    kind.STAGE: kind
    for kind in (
        *(
            Labelled,
            Late,
            HeldOut,
            Trained,
            Compilation,
            DeployedModel,
            Evaluated,
            OtherForm,
            ForRanks,
            TwoModels,
            Segment,
            Steered,
            Located,
        ),
        *(Judged, Ended, Versions, Drawn, Atom),
    )
}
