"""Read campaign.yaml into settings. Each error message is one line: place, problem, solution."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from .. import mistakes
from ..engines import EngineSettings
from ..errors import InputError, brief
from ..models import DeploySettings, ModelSettings
from ..reference import ReferenceSettings
from ..settings import Settings, check_text
from ..walkers import CandidateSettings, PolicySettings, SegmentSettings, SystemSettings
from .stop_settings import StopSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class BootstrapSettings(Settings):
    """The first labels: random perturbations of each system's structure."""

    count: int | None = Field(
        None,
        ge=0,
        description="Number of labels per system. Default: 32, or 0 if initial_data is given.",
    )
    displacement_A: float = Field(
        0.1, ge=0, le=1, description="Maximum displacement of an atom along each Cartesian axis."
    )
    strain: float = Field(
        0.06,
        ge=0,
        le=0.3,
        description="Maximum absolute value of each of the six strain components; not applied if "
        "the system has fixed atoms.",
    )
    min_distance_fraction: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="Draw a perturbation again if a pair distance is below this × the sum of "
        "covalent radii.",
    )


class InitialDataSettings(Settings):
    """Labelled frames to start the campaign from."""

    file: str = Field(
        min_length=1,
        description="extxyz file with energies, forces and stresses, in the directory of the "
        "campaign file; NAME@:40 selects the first 40 frames (ASE's index syntax).",
    )
    same_level: bool = Field(
        False,
        description="Set to true to declare that the labels have the reference's level of theory, "
        "if the file does not say so.",
    )
    verify: int = Field(
        1,
        ge=0,
        description="Number of frames to recompute with the reference, to verify the level of "
        "theory.",
    )


class ResourceSettings(Settings):
    """Resources of this machine that the campaign may use."""

    cores: int | None = Field(None, ge=1, description="Number of cores. Default: all available.")
    walkers_per_core: int = Field(
        2, ge=1, description="Maximum number of walkers per core in a segment."
    )


class CampaignSettings(Settings):
    """All settings of a campaign."""

    campaign: Name = Field(
        description="Name of the campaign: letters, digits, - and _; at most 40."
    )
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of all random numbers.")
    rounds: int = Field(3, ge=0, le=10000, description="Number of rounds after the bootstrap.")
    systems: dict[Name, SystemSettings] = Field(
        min_length=1, description="The systems to explore; all train one potential."
    )
    bootstrap: BootstrapSettings = Field(BootstrapSettings(), description="The first labels.")
    segment: SegmentSettings = Field(SegmentSettings(), description="MD in each round.")
    policy: PolicySettings = Field(PolicySettings(), description="Where walkers continue.")
    candidates: CandidateSettings = Field(
        CandidateSettings(), description="Checks of frames before they are labelled."
    )
    reference: ReferenceSettings = Field(ReferenceSettings(), description="Reference method.")
    initial_data: InitialDataSettings | None = Field(
        None, description="Existing labels to start from."
    )
    validation_every: int = Field(8, ge=2, description="Hold out every N-th label for validation.")
    model: ModelSettings = Field(ModelSettings(), description="The NequIP model.")
    deploy: DeploySettings = Field(DeploySettings(), description="Compilation for LAMMPS.")
    test_data: str | None = Field(
        None, description="Labelled frames (extxyz) to evaluate every generation on."
    )
    stop: StopSettings = Field(StopSettings(), description="Stop rules (goals, budgets).")
    resources: ResourceSettings = Field(ResourceSettings(), description="Cores to use.")
    engines: EngineSettings = Field(EngineSettings(), description="Engine locations.")

    @property
    def walkers(self) -> int:
        """Number of walkers of all systems."""
        return sum(system.walkers for system in self.systems.values())


def check_walkers(settings: CampaignSettings, cores: int, path: Path) -> None:
    """Raise InputError if there are more walkers than a number of cores allows."""
    per_core = settings.resources.walkers_per_core
    if settings.rounds and settings.walkers > cores * per_core:
        raise InputError(
            f"{path}: {settings.walkers} walkers, but {cores} core(s) × {per_core} "
            f"(resources.walkers_per_core) allow {cores * per_core}; use fewer walkers, or "
            "increase resources.walkers_per_core"
        )


def parse(text: str, where: str) -> CampaignSettings:
    """Read settings from YAML text; InputError with one line for the first error."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = brief(error.problem)
        raise InputError(f"{where}{line}: not valid YAML: {problem}") from error
    except Exception as error:  # ruamel raises various exceptions, for example for `!!int ""`
        problem = brief(error) or type(error).__name__
        raise InputError(f"{where}: not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected `key: value` lines, found {type(data).__name__}")
    try:
        settings = CampaignSettings.model_validate(data)
        check_text(data)  # before code that expands aliases
        # Dates and lone surrogates cannot be written to the files of the campaign.
        json.dumps(settings.model_dump(), ensure_ascii=False, allow_nan=False).encode()
    except ValidationError as error:
        raise InputError(f"{where}: {brief(_first(error, data))}") from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}: a value is neither text nor a number ({brief(error)}); write it as text or "
            "number"
        ) from error
    return settings


def _first(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The first error; unknown keys first, because they may be misspelled required keys."""
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    first = found[0]
    location = first["loc"]
    place = mistakes.place(location)
    if first["type"] == "extra_forbidden":
        known = _fields(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{place}: unknown key; {hint}{more}"
    return f"{place}: {mistakes.message(first, _fields(location))}{more}"


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys at a location of the settings; empty if it is a value."""
    model: type[BaseModel] | None = CampaignSettings
    named = False
    for part in location:
        if part == "systems" and model is CampaignSettings:
            model, named = SystemSettings, True
        elif named:
            named = False  # the name of a system
        elif model is not None:
            info = model.model_fields.get(str(part))
            kinds = (info.annotation, *getattr(info.annotation, "__args__", ())) if info else ()
            groups = (k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
            model = next(groups, None)
    return list(model.model_fields) if model is not None and not named else []
