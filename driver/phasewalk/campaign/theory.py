"""Level of theory of a campaign and of its data, determined before the start."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms

from .. import labels, scratch
from ..errors import EngineFailed, InputError
from ..jobs import Launcher, run
from ..labels import Label, Level, conventions, label_energies, levels
from ..reference import COMMAND, cp2k_input, programs, requests
from ..store import IDENTITY, read_identity, settings_text
from ..structures import cell_multiple, reduced_formula
from . import config
from .inputs import Campaign


def settle(
    campaign: Campaign, launcher: Launcher, root: Path | None = None
) -> tuple[Campaign, list[str]]:
    """Complete the campaign's level of theory and assign it to the initial labels.

    Args:
        campaign: the campaign as it was read.
        launcher: runs the reference program to determine its version.
        root: directory of an existing campaign, if any.

    Returns:
        The campaign, and notes for the user.

    Raises:
        InputError: the reference does not start, or data have another level of theory.
    """
    with scratch.folder("version", within=launcher.scratch) as folder:
        job = requests.version_job(campaign.reference, folder / "version", here=launcher.here)
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


def reference_again(
    campaign: Campaign, launcher: Launcher, root: Path, *, folder: Path, environ: Mapping[str, str]
) -> Campaign:
    """A campaign read from its directory, with a reference that can compute labels.

    Args:
        campaign: from its directory.
        launcher: runs the reference to get its version.
        root: its directory.
        folder: of the files that the reference reads (that of the campaign file).
        environ: of this process.

    Raises:
        InputError: there is no reference program, or its level of theory differs from the labels'.
    """
    wanted = campaign.reference.method
    if campaign.settings.reference.imported:
        raise InputError(f"{campaign.path}: with reference.imported, no frame can be labelled")
    found = programs.load(campaign.settings.reference, folder, environ)
    silent = replace(campaign, reference=found, test_data=(), initial=())
    settled, _ = settle(silent, launcher, root)
    if settled.reference.method.method != wanted.method:
        difference = levels.difference(wanted.as_dict(), settled.reference.method.as_dict())
        raise InputError(
            f"{campaign.path}: the reference found here is of another level of theory than the "
            f"campaign's labels; campaign | here: {difference}"
        )
    return settled


def _continued(campaign: Campaign, root: Path) -> Campaign:
    """The campaign with the level of theory of its directory, if both are equivalent.

    Earlier versions included more of the CP2K input (memory, processes), but not `command`.
    """
    reference = campaign.reference
    before, command = None, None
    with contextlib.suppress(InputError):  # opening the directory reports what is wrong with it
        before = levels.from_dict(read_identity(root).get("level of theory"))
        command = config.parse(*settings_text(root)).reference.command
    if before is None or before.method == reference.method.method:
        return campaign
    same_command = COMMAND not in before.settings and command == reference.settings.command
    if _theory(before, same_command) != _theory(reference.method, same_command):
        return campaign
    return replace(campaign, reference=replace(reference, method=before))


def _theory(level: Level, without_command: bool) -> dict[str, Any]:
    """A level as a mapping, without entries that do not affect the results."""
    found = level.as_dict()
    for key in ("settings", "files"):
        found[key] = {
            name: value
            for name, value in found[key].items()
            if cp2k_input.counts(name) and not (without_command and name.startswith(COMMAND))
        }
    return found


def _check_levels(campaign: Campaign, where: str, found: Sequence[Label]) -> None:
    """Raise InputError if a frame has another level of theory."""
    method = campaign.reference.method
    if campaign.settings.reference.imported:
        stated = {levels.method_of(label.level) for label in (*campaign.initial, *found)} - {""}
        if len(stated) > 1:
            raise InputError(
                f"{where}: labels of {len(stated)} levels of theory "
                f"({', '.join(sorted(stated))}); use labels of one level of theory"
            )
        return
    for number, label in enumerate(found, start=1):
        if label.level and levels.method_of(label.level) != method.method:
            raise InputError(
                f"{where}, frame {number}: its level of theory differs from the campaign's (file | "
                f"campaign: {_difference(label, method)}); use labels of one level of theory"
            )


def _difference(label: Label, method: Level) -> str:
    stated: Any = label.made.get("level_of_theory")
    if not isinstance(stated, dict):
        return f"{levels.method_of(label.level)} | {method.method}, no details in the file"
    return levels.difference(levels.from_dict(stated).as_dict(), method.as_dict())


def _check_declared(campaign: Campaign) -> None:
    """Raise InputError if the level of theory of initial data is neither given nor declared."""
    settings = campaign.settings
    data = settings.initial_data
    missing = [n for n, label in enumerate(campaign.initial, start=1) if not label.level]
    if data and missing and not data.same_level and not settings.reference.imported:
        raise InputError(
            f"{campaign.path}: initial_data ({data.file}), frame {missing[0]}: no level of theory "
            f"given; if it is the campaign's ({campaign.reference.method.title}: program, "
            "settings, basis sets, k-points), set initial_data.same_level: true; to only train on "
            "these data, use reference.imported"
        )


def _initial(campaign: Campaign) -> list[Label]:
    """The initial labels with their level of theory, without duplicates."""
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
    """The system of a frame, if any, and its number of primitive cells."""
    formula = reduced_formula(atoms)
    for name, structure in campaign.structures.items():
        if reduced_formula(structure) == formula:
            if len(structure) != len(atoms):
                raise InputError(
                    f"{campaign.path}: initial_data, frame {number}: {len(atoms)} atoms, but "
                    f"systems.{name} of the same composition has {len(structure)}; k-point "
                    "sampling in another cell size is another level of theory; use a structure of "
                    "that size"
                )
            return name, campaign.cell_multiples[name]
    return "", cell_multiple(atoms)
