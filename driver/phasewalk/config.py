"""campaign.yaml → settings. Every mistake gets one line: where, what, and what to do."""

import contextlib
import difflib
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ase import Atoms
from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from .candidates import CandidateSettings
from .engines import EngineSettings, available_cores, has_gpu, which
from .errors import InputError, brief
from .evaluation import read_labelled
from .labels import Label, ReferenceSettings, level
from .model_settings import DeploySettings, ModelSettings
from .segments import PolicySettings, SegmentSettings, SystemSettings
from .settings import Settings, check_text
from .structures import (
    cell_multiple,
    fingerprint,
    read_structure,
    reduced_formula,
    species,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class BootstrapSettings(Settings):
    """The first labels: random perturbations of each system's structure."""

    count: int = Field(32, ge=2, description="Labels for each system.")
    displacement_A: float = Field(
        0.1, ge=0, le=1, description="Each Cartesian component of each atom moves by up to ± this."
    )
    strain: float = Field(
        0.06, ge=0, le=0.3, description="Each of the six strain components is up to ± this."
    )
    min_distance_fraction: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="Drawn again where a pair is closer than this × the sum of covalent radii.",
    )


class ResourceSettings(Settings):
    """What the campaign may use of this machine."""

    cores: int | None = Field(None, ge=1, description="Cores; default: all that are available.")
    walkers_per_core: int = Field(
        2, ge=1, description="Walkers that may share one core in a segment."
    )


class CampaignSettings(Settings):
    """All settings of a campaign."""

    campaign: Name = Field(description="Name of the campaign: letters, digits, - and _.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random.")
    rounds: int = Field(3, ge=0, le=10000, description="Rounds after the bootstrap.")
    systems: dict[Name, SystemSettings] = Field(
        min_length=1, description="The structures that are explored; all train one potential."
    )
    bootstrap: BootstrapSettings = Field(BootstrapSettings(), description="The first labels.")
    segment: SegmentSettings = Field(SegmentSettings(), description="What walkers do in a round.")
    policy: PolicySettings = Field(PolicySettings(), description="Where walkers go on from.")
    candidates: CandidateSettings = Field(
        CandidateSettings(), description="Screens before a label is paid for."
    )
    reference: ReferenceSettings = Field(ReferenceSettings(), description="What makes labels.")
    validation_every: int = Field(
        8, ge=2, description="Every so-many-th label is kept for validation."
    )
    model: ModelSettings = Field(ModelSettings(), description="The NequIP model.")
    deploy: DeploySettings = Field(DeploySettings(), description="Compiling for LAMMPS.")
    test_data: str | None = Field(
        None, description="Labelled frames (extxyz) on which every generation is measured."
    )
    resources: ResourceSettings = Field(ResourceSettings(), description="Cores.")
    engines: EngineSettings = Field(EngineSettings(), description="Where the engines are.")


@dataclass(frozen=True)
class Campaign:
    """Validated settings and what they point to.

    Attributes:
        path: the file.
        text: its content, as it is copied into the campaign directory.
        settings: what it says.
        structures: start structure of each system.
        types: species of the model, in its order.
        cell_multiples: of each system.
        test_data: labelled frames for every generation; empty where none are given.
    """

    path: Path
    text: str
    settings: CampaignSettings
    structures: Mapping[str, Atoms]
    types: tuple[str, ...]
    cell_multiples: Mapping[str, int]
    test_data: tuple[Label, ...]

    @property
    def cores(self) -> int:
        """Cores to use."""
        return self.settings.resources.cores or available_cores()

    @property
    def walkers(self) -> int:
        """Walkers of all systems together."""
        return sum(system.walkers for system in self.settings.systems.values())

    def identity(self) -> dict[str, Any]:
        """What must stay the same as long as the campaign lives: see store.open_campaign."""
        model = self.settings.model
        reference = self.settings.reference
        return {
            "name": self.settings.campaign,
            "seed": self.settings.seed,
            "species": list(self.types),
            "structures": {n: fingerprint(a)[:16] for n, a in self.structures.items()},
            "reference": f"{reference.method}, {reference.electronic_temperature_K:g} K electrons",
            "cell_multiple": dict(self.cell_multiples),
            "model": f"{model.preset}, r_max {model.cutoff_A:g} Å, {model.dtype}, zbl {model.zbl}",
            "model overrides": {
                k: v for k, v in model.overrides.items() if k.startswith("training_module.model.")
            },
        }


def load(path: Path) -> Campaign:
    """Read and validate a campaign file and everything that it points to.

    Raises:
        InputError: one line that says where and what.
    """
    text = read_text(path)
    settings = parse(text, str(path))
    folder = path.parent
    structures = {
        name: _at(f"{path}: systems.{name}", read_structure, folder / system.structure)
        for name, system in settings.systems.items()
    }
    types = _types(path, settings, structures)
    multiples = _cell_multiples(path, settings, structures)
    campaign = Campaign(
        path=path,
        text=text,
        settings=settings,
        structures=structures,
        types=types,
        cell_multiples=multiples,
        test_data=tuple(_test_data(path, settings, types, multiples)),
    )
    first = settings.bootstrap.count * len(structures)
    if first < settings.validation_every:
        raise InputError(
            f"{path}: bootstrap.count gives {first} labels, and none is left for validation where "
            f"every {settings.validation_every}th is (validation_every); raise the one or lower "
            "the other"
        )
    _check_reference(path, settings.reference)
    if settings.deploy.device == "cuda" and not has_gpu():
        raise InputError(
            f"{path}: deploy.device: cuda, but this machine has no NVIDIA driver (no nvidia-smi); "
            "use auto or cpu"
        )
    slots = campaign.cores * settings.resources.walkers_per_core
    if campaign.walkers > slots:
        raise InputError(
            f"{path}: {campaign.walkers} walkers, but {campaign.cores} core(s) × "
            f"{settings.resources.walkers_per_core} (resources.walkers_per_core) give {slots} "
            "slots; use fewer walkers, or raise resources.walkers_per_core"
        )
    return campaign


def read_text(path: Path) -> str:
    """Content of the campaign file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def parse(text: str, where: str) -> CampaignSettings:
    """Settings from YAML text; InputError with one line for the first mistake."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = brief(error.problem)
        raise InputError(f"{where}{line}: not valid YAML: {problem}") from error
    except Exception as error:  # ruamel raises anything, as at `!!int ""`
        problem = brief(error) or type(error).__name__
        raise InputError(f"{where}: not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected `key: value` lines, found {type(data).__name__}")
    try:
        settings = CampaignSettings.model_validate(data)
        check_text(data)  # before anything follows all aliases
        # A date or a lone surrogate could never be written into a file of the campaign.
        json.dumps(settings.model_dump(), ensure_ascii=False, allow_nan=False).encode()
    except ValidationError as error:
        raise InputError(f"{where}: {brief(_first(error, data))}") from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}: a value is neither text nor a number ({brief(error)})"
        ) from error
    return settings


def _first(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The first mistake, unknown keys before the missing ones that they stand for."""
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    first = found[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        known = _fields(CampaignSettings, first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{place}: unknown key; {hint}{more}"
    if first["type"] == "missing":
        return f"{place}: is required{more}"
    message = first["msg"].removeprefix("Value error, ")
    got, shown = first.get("input"), ""
    if isinstance(got, str | int | float | bool | None):
        with contextlib.suppress(ValueError):  # a number of more than 4300 digits has no repr
            shown = f" (got {got!r})"
    return f"{place}: {message}{shown}{more}"


def _fields(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Keys that are known at a place of the settings."""
    for part in location:
        if part == "systems":
            model = SystemSettings
            continue
        info = model.model_fields.get(str(part))
        if info is None:
            continue  # the name of a system, or an index
        for candidate in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
    return list(model.model_fields)


def _at(place: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _types(
    path: Path, settings: CampaignSettings, structures: Mapping[str, Atoms]
) -> tuple[str, ...]:
    found = species(list(structures.values()))
    if settings.model.species is None:
        return found
    missing = sorted(set(found) - set(settings.model.species))
    if missing:
        raise InputError(
            f"{path}: model.species has no {', '.join(missing)}, which the structures hold; "
            "add it (a species can never be added later)"
        )
    return tuple(sorted(set(settings.model.species)))


def _cell_multiples(
    path: Path, settings: CampaignSettings, structures: Mapping[str, Atoms]
) -> dict[str, int]:
    """Primitive cells of each system; the same for all systems of one composition.

    The reference samples the Γ point alone, so that a crystal in another cell is another level.
    """
    declared = {name: settings.systems[name].cell_multiple for name in structures}
    multiples = {n: declared[n] or cell_multiple(atoms) for n, atoms in structures.items()}
    groups: dict[str, list[str]] = {}
    for name, atoms in structures.items():
        groups.setdefault(reduced_formula(atoms), []).append(name)
    for names in groups.values():
        for one, other in itertools.combinations(names, 2):
            sizes = sorted(len(structures[name]) for name in (one, other))
            hidden = (  # a distorted supercell has no symmetry by which to find it
                sizes[0] != sizes[1]
                and sizes[1] % sizes[0] == 0
                and None in (declared[one], declared[other])
            )
            if multiples[one] != multiples[other] or hidden:
                raise InputError(
                    f"{path}: systems.{one} ({len(structures[one])} atoms) and systems.{other} "
                    f"({len(structures[other])} atoms) have the same composition in cells of "
                    f"another size, and {settings.reference.method} samples the Γ point alone: "
                    "two levels of theory, which cannot train one model; use cells of one size, "
                    "or declare how many primitive cells they hold (systems.*.cell_multiple, the "
                    "same number) if they are different crystals"
                )
    return multiples


def _check_reference(path: Path, reference: ReferenceSettings) -> None:
    """A relative program would be looked for where each label runs."""
    program = (reference.command or [sys.executable])[0]
    if not Path(program).is_absolute() and ("/" in program or which(program) is None):
        raise InputError(
            f"{path}: reference.command: {program!r} is not a program on the path; give its "
            "absolute path"
        )


def _test_data(
    path: Path,
    settings: CampaignSettings,
    types: tuple[str, ...],
    multiples: Mapping[str, int],
) -> list[Label]:
    if settings.test_data is None:
        return []
    labels: list[Label] = _at(f"{path}: test_data", read_labelled, path.parent / settings.test_data)
    unknown = sorted({s for label in labels for s in label.atoms.symbols} - set(types))
    if unknown:
        raise InputError(
            f"{path}: test_data holds {', '.join(unknown)}, which the model does not know; "
            "add it to model.species"
        )
    ours = {level(settings.reference, multiple).key for multiple in multiples.values()}
    foreign = sorted({label.level for label in labels} - ours - {""})
    if foreign:
        raise InputError(
            f"{path}: test_data was labelled at another level of theory ({foreign[0]}) than this "
            f"campaign's ({', '.join(sorted(ours))}); errors against it would mean nothing"
        )
    return labels
