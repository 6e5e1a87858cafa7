"""The key `plumed:` of a campaign file: PLUMED input, the files that it reads, and warnings."""

from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path

from ase import Atoms
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from ..bias import plumed, plumed_files, plumed_limits
from ..errors import InputError
from ..walkers import SystemSettings
from .config import CampaignSettings, parse


def expanded(
    settings: CampaignSettings, text: str, path: Path
) -> tuple[CampaignSettings, str, Mapping[str, str]]:
    """Replace names of PLUMED files in a campaign file by their content.

    Args:
        settings: settings of the campaign file.
        text: text of the campaign file.
        path: path of the campaign file.

    Returns:
        Settings and text with the complete PLUMED input; names of the files, by system.

    Raises:
        InputError: a file is not found or does not contain PLUMED input.
    """
    named = {
        name: system.plumed.strip()
        for name, system in settings.systems.items()
        if system.plumed is not None and plumed.is_file_name(system.plumed)
    }
    if not named:
        return settings, text, {}
    systems = dict(settings.systems)
    for name, file in named.items():
        where = f"{path}: systems.{name}.plumed ({file})"
        systems[name] = _with_text(systems[name], _text(path.parent / file, where), where)
    whole = settings.model_copy(update={"systems": systems})
    inlined = _inlined(text, {name: systems[name].plumed or "" for name in named})
    if parse(inlined, str(path)) != whole:
        raise InputError(
            f"{path}: the content of {next(iter(named.values()))} cannot be inserted; copy it to "
            "plumed: yourself"
        )
    return whole, inlined, named


def _text(path: Path, where: str) -> str:
    """Content of a PLUMED file, with normalized line ends."""
    if not path.is_file():
        raise InputError(
            f"{where}: file not found in the directory of the campaign file; give the name of an "
            "existing file, or the PLUMED input itself"
        )
    try:
        found = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read ({error})") from error
    if plumed.is_file_name(found) or not found.strip():
        raise InputError(f"{where}: the file does not contain PLUMED input")
    return "\n".join(line.rstrip() for line in found.splitlines()) + "\n"


def _with_text(system: SystemSettings, text: str, where: str) -> SystemSettings:
    try:
        return SystemSettings.model_validate({**system.model_dump(), "plumed": text})
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {message}") from error


def _inlined(text: str, texts: Mapping[str, str]) -> str:
    """The campaign file with file names replaced by texts; comments and order are kept."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 10_000, True
    data = yaml.load(text)
    for name, content in texts.items():
        data["systems"][name]["plumed"] = LiteralScalarString(content)
    stream = StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def check(settings: CampaignSettings, structures: Mapping[str, Atoms], path: Path) -> None:
    """Raise InputError if a PLUMED input does not match its structure."""
    for name, system in settings.systems.items():
        if system.plumed:
            try:
                plumed_limits.check_structure(system.plumed, structures[name])
            except InputError as error:
                raise InputError(f"{path}: systems.{name}: {error}") from error


def files(settings: CampaignSettings, folder: Path, path: Path) -> dict[str, bytes]:
    """Content of the files that PLUMED reads in addition to its input, by name.

    Args:
        settings: settings of the campaign.
        folder: directory of the files.
        path: campaign file, for messages.
    """
    found: dict[str, bytes] = {}
    for name, system in settings.systems.items():
        try:
            found |= plumed_files.contents(system.plumed or "", folder)
        except InputError as error:
            raise InputError(f"{path}: systems.{name}: {error}") from error
    return found


def notices(settings: CampaignSettings, structures: Mapping[str, Atoms]) -> Iterator[str]:
    """Warnings about possible, but probably unintended PLUMED input."""
    for name, system in settings.systems.items():
        for notice in notices_of(system, structures[name]):
            yield f"systems.{name}: PLUMED text: {notice}"


def notices_of(system: SystemSettings, atoms: Atoms) -> list[str]:
    """Warnings for one system."""
    if not system.plumed:
        return []
    return plumed_limits.notices(system.plumed, atoms, system.temperatures_K)
