"""A campaign, and a generation of it, from its directory alone: without the files it began with."""

from pathlib import Path

from . import config, levels, models, plumed_inputs, steering
from .deploying import Generation
from .engines import has_gpu, processor
from .errors import InputError, StoreError
from .inputs import Campaign
from .references import Reference
from .store import (
    IDENTITY,
    PLUMED_FILES,
    SETTINGS,
    Store,
    check_file,
    read_identity,
    settings_text,
)


def read_generation(store: Store, name: str | None) -> Generation:
    """A generation as the journal has it ("0", "1", … or "final"); the last one where None.

    Raises:
        InputError: there is none, or it was deployed for another machine.
        ParseError: its deployed model is not what the journal holds.
    """
    names = [str(r.outputs["generation"]) for r in store.records() if r.stage == "deploy"]
    if not names:
        raise StoreError(f"{store.root}: no generation was deployed yet")
    chosen = names[-1] if name is None else name
    trained = store.find(f"train generation {chosen}")
    deployed = store.find(f"deploy generation {chosen}")
    if trained is None or deployed is None:
        raise InputError(f"--generation {name}: the campaign has {', '.join(names)}")
    outputs = deployed.outputs
    found = Generation(
        number=deployed.round,
        name=chosen,
        checkpoint=store.root / trained.outputs["checkpoint"],
        deployed=store.root / outputs["file"],
        stamp=models.stamp_from_json(outputs["stamp"]),
        checkpoint_hash=trained.outputs["sha256"],
        deployed_hash=outputs["sha256"],
        again=outputs["again"],
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


def read_inputs(store: Store) -> Campaign:
    """A campaign from its directory alone: settings, start structures, species.

    Raises:
        InputError: no walker has begun yet.
    """
    for name in (IDENTITY, SETTINGS):
        store.checked(name)
    identity, (text, path) = read_identity(store.root), settings_text(store.root)
    settings = config.parse(text, path)
    begun = store.find("segment 1")
    if begun is None:
        raise InputError(
            f"{store.root}: no segment is finished yet, and a free energy begins where walkers "
            "have been; run the campaign first"
        )
    states = store.root / steering.states_file(1)
    check_file(states, begun.files.get(steering.states_file(1), ""))
    structures = {one.system: one.came_from[1] for one in steering.read_states(states)}
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
