"""Load a campaign and its generations from the campaign directory only."""

from collections.abc import Callable
from pathlib import Path

from .. import models
from ..bias import plumed
from ..campaign import (
    Campaign,
    CampaignSettings,
    begun,
    config,
    plumed_inputs,
)
from ..engines import EngineSettings, Machine
from ..errors import InputError, StoreError
from ..files import check_file
from ..generations import Generation
from ..labels import levels
from ..reference import Reference
from ..store import (
    IDENTITY,
    PLUMED_FILES,
    SETTINGS,
    DeployedModel,
    Store,
    Trained,
    deploy_task,
    each,
    read_identity,
    segment_task,
    settings_text,
    train_task,
)
from . import steer

PLUMED_CODE = ("LOAD", "PYTORCH_MODEL", "PYCVINTERFACE", "PYFUNCTION")
"""PLUMED actions that run a library, a model or a script from a file."""


def read_generation(store: Store, name: str | None) -> Generation:
    """A generation ("0", "1", … or "final") from the journal; the last one if `name` is None.

    Raises:
        InputError: there is no such generation.
        ParseError: its deployed model differs from the journal.
    """
    names = [found.generation for _, found in each(store.records(), DeployedModel)]
    if not names:
        raise StoreError(f"{store.root}: no deployed generation yet; run the campaign first")
    chosen = names[-1] if name is None else name
    trained = store.find(train_task(chosen))
    deployed = store.find(deploy_task(chosen))
    if trained is None or deployed is None:
        raise InputError(f"--generation {name}: not found; the campaign has {', '.join(names)}")
    outputs, learned = deployed.of(DeployedModel), trained.of(Trained)
    found = Generation(
        number=deployed.round,
        name=chosen,
        checkpoint=store.root / learned.checkpoint,
        deployed=store.root / outputs.file,
        stamp=models.stamp_from_json(outputs.stamp),
        checkpoint_hash=learned.sha256,
        deployed_hash=outputs.sha256,
        again=outputs.again,
        unproved_graph=False,
    )
    check_file(found.deployed, found.deployed_hash)
    return found


def check_fits(generation: Generation, machine: Machine) -> None:
    """Raise InputError if a machine cannot run a generation."""
    reason = models.misfit(generation.stamp, machine)
    if reason:
        raise InputError(
            f"{generation.deployed}: {reason}; use the machine on which the campaign ran, or "
            "continue the campaign here, which deploys its last generation again"
        )


def own_side(
    settings: CampaignSettings, path: str, *, trusted: bool
) -> tuple[CampaignSettings, str]:
    """Settings from a directory of unknown origin, without the programs that it names.

    Args:
        settings: settings of the directory.
        path: file of the settings.
        trusted: the directory is trusted; its settings are not changed.

    Returns:
        The settings, and a message if programs were ignored; otherwise empty.

    Raises:
        InputError: the settings would run code from the directory.
    """
    if trusted:
        return settings, ""
    asked = [f"model.overrides: {key}" for key in settings.model.overrides if "_target_" in key]
    asked += ["model.overrides"] if "_target_" in str(settings.model.overrides) else []
    for name, system in settings.systems.items():
        actions = plumed.parse(system.plumed) if system.plumed else ()
        asked += [f"systems.{name}.plumed: {a.name}" for a in actions if a.name in PLUMED_CODE]
    if asked:
        raise InputError(
            f"{path}: {asked[0]} runs code from this campaign with your permissions; if you trust "
            "its origin, add --trust"
        )
    named = sorted(settings.engines.model_dump(exclude_none=True))
    if not named:
        return settings, ""
    ignored = ", ".join(f"engines.{name}" for name in named)
    return (
        settings.model_copy(update={"engines": EngineSettings()}),
        f"{path}: {ignored} ignored, because the origin of a directory is not known; programs "
        "found here are used (with --trust, those of the directory)",
    )


def reference_side(settings: CampaignSettings, path: str, *, trusted: bool) -> None:
    """Raise InputError if the reference in a directory's settings may run code of its author.

    Args:
        settings: of the directory.
        path: of the settings.
        trusted: see `own_side`.
    """
    own = settings.reference
    asked = [
        name
        for name, given in (
            ("reference.command", own.command),
            ("reference.cp2k", own.cp2k),
            ("reference.ase", own.ase),
            ("reference.function", own.function),
        )
        if given
    ]
    if asked and not trusted:
        raise InputError(
            f"{path}: {asked[0]} may run code of whoever made this campaign as yours; if you "
            "trust them, or it is your own: --trust"
        )


def read_inputs(
    store: Store, say: Callable[[str], None] = lambda line: None, *, trusted: bool = True
) -> Campaign:
    """Load a campaign from its directory only: settings, start structures, species.

    Args:
        store: the campaign.
        say: receives a message if programs were ignored; see `own_side`.
        trusted: see `own_side`.

    Raises:
        InputError: no segment is finished yet, or the directory is not trusted and would run code.
    """
    for name in (IDENTITY, SETTINGS):
        store.checked(name)
    identity, (text, path) = read_identity(store.root), settings_text(store.root)
    settings, ignored = own_side(config.parse(text, path), path, trusted=trusted)
    if ignored:
        say(ignored)
    segment = store.find(segment_task(1))
    if segment is None:
        raise InputError(
            f"{store.root}: no segment is finished yet, so that there are no start frames for a "
            "free energy; run the campaign first"
        )
    states = store.root / steer.states_file(1)
    check_file(states, segment.files.get(steer.states_file(1), ""))
    structures = {one.system: one.came_from[1] for one in steer.read_states(states)}
    level = levels.from_dict(identity.get("level of theory"))
    campaign = Campaign(
        path=Path(path),
        text=text,
        settings=settings,
        structures=structures,
        types=tuple(identity["species"]),
        cell_multiples=identity["cell_multiple"],
        test_data=(),
        reference=Reference(settings.reference, level),
        plumed_files=plumed_inputs.files(settings, store.root / PLUMED_FILES, Path(path)),
    )
    return begun.of(campaign, store)
