"""What a campaign must know before it begins: its level of theory, and that of its data."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from .. import labels, scratch
from ..errors import EngineFailed, InputError
from ..jobs import Launcher, run
from ..labels import Label, Level, conventions, label_energies, levels
from ..reference import COMMAND, cp2k_input, requests
from ..store import IDENTITY, read_identity, settings_text
from ..structures import cell_multiple, reduced_formula
from . import config
from .inputs import Campaign


def settle(
    campaign: Campaign, launcher: Launcher, root: Path | None = None
) -> tuple[Campaign, list[str]]:
    """The campaign with its level of theory complete and its initial labels at it; what to say.

    Args:
        campaign: as it was read.
        launcher: asks the reference for its version.
        root: the campaign's directory, where there is one already.

    Raises:
        InputError: the reference does not start, or data of another level would be mixed in.
    """
    with scratch.folder("version") as folder:
        job = requests.version_job(campaign.reference, folder / "version")
        if job is not None:
            try:
                finished = run(launcher, job)
                reference = requests.with_version(campaign.reference, finished)
            except EngineFailed as error:
                reason = str(error).partition(" (all files are in")[0]
                raise InputError(f"{campaign.path}: reference: {reason}") from error
            campaign = replace(campaign, reference=reference)
    if root is not None and (root / IDENTITY).is_file():
        campaign = _continued(campaign, root)
    test, initial = campaign.settings.test_data, campaign.settings.initial_data
    notes = []
    for key, name, found in (
        ("test_data", test, campaign.test_data),
        ("initial_data", initial.file if initial else None, campaign.initial),
    ):
        if found:
            where = f"{campaign.path}: {key} ({name})"
            _check_levels(campaign, where, found)
            notes.append(f"{key}: {conventions.check_conventions(found, where)}")
            notes += [f"{key}: {line}" for line in label_energies.notices(found)]
    if not campaign.initial:
        return campaign, notes
    _check_declared(campaign)
    return replace(campaign, initial=tuple(_initial(campaign))), notes


def _continued(campaign: Campaign, root: Path) -> Campaign:
    """The campaign at the level that its directory names, where that is the same theory.

    Versions before took more of a CP2K input for theory (memory, processes), and no `command`.
    """
    reference = campaign.reference
    before, then = None, None
    with contextlib.suppress(
        InputError
    ):  # what is wrong with the directory is said by who opens it
        before = levels.from_dict(read_identity(root).get("level of theory"))
        then = config.parse(*settings_text(root)).reference.command
    if before is None or before.method == reference.method.method:
        return campaign
    same_command = COMMAND not in before.settings and then == reference.settings.command
    if _theory(before, same_command) != _theory(reference.method, same_command):
        return campaign
    return replace(campaign, reference=replace(reference, method=before))


def _theory(level: Level, without_command: bool) -> dict[str, Any]:
    """A level as a mapping, without what does not count now."""
    found = level.as_dict()
    for key in ("settings", "files"):
        found[key] = {
            name: value
            for name, value in found[key].items()
            if cp2k_input.counts(name) and not (without_command and name.startswith(COMMAND))
        }
    return found


def _check_levels(campaign: Campaign, where: str, found: Sequence[Label]) -> None:
    """Raise InputError where a frame says that it was labelled at another level of theory."""
    method = campaign.reference.method
    if campaign.settings.reference.imported:
        told = {levels.method_of(label.level) for label in (*campaign.initial, *found)} - {""}
        if len(told) > 1:
            raise InputError(
                f"{where}: labels of {len(told)} levels of theory ({', '.join(sorted(told))}); "
                "one model cannot learn two"
            )
        return
    for number, label in enumerate(found, start=1):
        if label.level and levels.method_of(label.level) != method.method:
            raise InputError(
                f"{where}, frame {number}: it was labelled at another level of theory than this "
                f"campaign's, and labels of two levels never train or test one model; file | "
                f"campaign: {_difference(label, method)}"
            )


def _difference(label: Label, method: Level) -> str:
    told: Any = label.made.get("level_of_theory")
    if not isinstance(told, dict):
        return f"{levels.method_of(label.level)} | {method.method} (the file does not say more)"
    return levels.difference(levels.from_dict(told).as_dict(), method.as_dict())


def _check_declared(campaign: Campaign) -> None:
    """Raise InputError where initial data neither says its level nor was declared."""
    settings = campaign.settings
    data = settings.initial_data
    silent = [n for n, label in enumerate(campaign.initial, start=1) if not label.level]
    if data and silent and not data.same_level and not settings.reference.imported:
        raise InputError(
            f"{campaign.path}: initial_data ({data.file}), frame {silent[0]}: it does not say at "
            f"which level of theory it was labelled; if that is this campaign's "
            f"({campaign.reference.method.title}: program, settings, basis sets, k-points), say so "
            "with initial_data.same_level: true; if you only train on it, use reference.imported"
        )


def _initial(campaign: Campaign) -> list[Label]:
    """The initial labels at their level, each once."""
    data = campaign.settings.initial_data
    found: dict[str, Label] = {}
    for number, label in enumerate(campaign.initial, start=1):
        system, multiple = _place(campaign, label.atoms, number)
        at = campaign.reference.method.at(multiple)
        key = labels.label_key(label.atoms, at)
        origin = {
            **({"before": dict(label.origin)} if label.origin else {}),
            **{"system": system, "round": 0, "file": data.file if data else "", "frame": number},
        }
        declared = {} if label.level else {"declared": True}
        made = {**label.made, **declared}
        taken = replace(label, key=key, level=at.key, origin=origin, made=made)
        try:
            requests.check_limits(taken, campaign.reference)
        except InputError as error:
            name = data.file if data else ""
            raise InputError(
                f"{campaign.path}: initial_data ({name}), frame {number}: {error}"
            ) from error
        found.setdefault(key, taken)
    return list(found.values())


def _place(campaign: Campaign, atoms: Atoms, number: int) -> tuple[str, int]:
    """The system that a frame belongs to, if any, and how many primitive cells it holds."""
    formula = reduced_formula(atoms)
    for name, structure in campaign.structures.items():
        if reduced_formula(structure) == formula:
            if len(structure) != len(atoms):
                raise InputError(
                    f"{campaign.path}: initial_data, frame {number}: {len(atoms)} atoms, but "
                    f"systems.{name} of the same composition has {len(structure)}: in another cell "
                    "the reference samples differently, which is another level of theory; use a "
                    "structure of that size"
                )
            return name, campaign.cell_multiples[name]
    return "", cell_multiple(atoms)
