"""A campaign, and a generation of it, from its directory alone: without the files it began with."""

from collections.abc import Callable
from pathlib import Path

from .. import models
from ..bias import plumed
from ..campaign import Campaign, CampaignSettings, config, plumed_inputs
from ..engines import EngineSettings, has_gpu, processor
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
"""PLUMED's actions that run a library, a model or a script from a file."""


def read_generation(store: Store, name: str | None) -> Generation:
    """A generation as the journal has it ("0", "1", … or "final"); the last one where None.

    Raises:
        InputError: there is none, or it was deployed for another machine.
        ParseError: its deployed model is not what the journal holds.
    """
    names = [found.generation for _, found in each(store.records(), DeployedModel)]
    if not names:
        raise StoreError(f"{store.root}: no generation was deployed yet")
    chosen = names[-1] if name is None else name
    trained = store.find(train_task(chosen))
    deployed = store.find(deploy_task(chosen))
    if trained is None or deployed is None:
        raise InputError(f"--generation {name}: the campaign has {', '.join(names)}")
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


def check_fits(generation: Generation, torch: str) -> None:
    """Raise InputError where this machine, with its version of torch, cannot run a generation."""
    reason = models.misfit(generation.stamp, torch=torch, features=processor(), has_gpu=has_gpu())
    if reason:
        raise InputError(
            f"{generation.deployed}: {reason}; run this on the machine where the campaign ran, or "
            "go on with the campaign here, which deploys its last generation again"
        )


def own_side(
    settings: CampaignSettings, path: str, *, trusted: bool
) -> tuple[CampaignSettings, str]:
    """Settings from a directory that somebody else may have made, without their programs.

    Args:
        settings: as the directory has them.
        path: where they stand.
        trusted: the directory is one's own, or its maker is trusted: all is taken as it is.

    Returns:
        The settings, and a line to say where programs were left out; else empty.

    Raises:
        InputError: they would run code of whoever made them.
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
            f"{path}: {asked[0]} runs code of whoever made this campaign as yours; if you trust "
            "them, or it is your own: --trust"
        )
    named = sorted(settings.engines.model_dump(exclude_none=True))
    if not named:
        return settings, ""
    told = ", ".join(f"engines.{name}" for name in named)
    return (
        settings.model_copy(update={"engines": EngineSettings()}),
        f"{path}: {told} not used, since a directory may be anybody's; programs are those found "
        "here (--trust takes the directory's)",
    )


def read_inputs(
    store: Store, say: Callable[[str], None] = lambda line: None, *, trusted: bool = True
) -> Campaign:
    """A campaign from its directory alone: settings, start structures, species.

    Args:
        store: the campaign.
        say: takes a line for people, if its programs are left out; see `own_side`.
        trusted: see `own_side`.

    Raises:
        InputError: no walker has begun yet, or it is not trusted and would run code.
    """
    for name in (IDENTITY, SETTINGS):
        store.checked(name)
    identity, (text, path) = read_identity(store.root), settings_text(store.root)
    settings, told = own_side(config.parse(text, path), path, trusted=trusted)
    if told:
        say(told)
    begun = store.find(segment_task(1))
    if begun is None:
        raise InputError(
            f"{store.root}: no segment is finished yet, and a free energy begins where walkers "
            "have been; run the campaign first"
        )
    states = store.root / steer.states_file(1)
    check_file(states, begun.files.get(steer.states_file(1), ""))
    structures = {one.system: one.came_from[1] for one in steer.read_states(states)}
    level = levels.from_dict(identity.get("level of theory"))
    return Campaign(
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
