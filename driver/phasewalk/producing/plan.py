"""What a production run is made from: settings, frozen model, start structure."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ase import Atoms

from .. import models
from ..bias import plumed_files, plumed_limits
from ..campaign import config
from ..engines import Machine
from ..errors import InputError
from ..files import EXACT, file_hash, hash_bytes
from ..models import Deployed, ModelSettings
from ..rounds import read_states, reopen, states_file
from ..status import collect, deployed
from ..store import IDENTITY, SEGMENT, Store, check_kept, read_campaign, settings_text
from ..structures import read_structure
from ..walkers import decks, lammps_frame, reduce_cell
from . import memory
from .room import UNKNOWN, Room
from .settings import ProductionSettings


@dataclass(frozen=True)
class Begun:
    """What a run was begun with.

    Attributes:
        generation: of the model; empty for an exported one.
        made_from: see `Plan.identity`.
        start: SHA-256 of the start structure.
    """

    __pydantic_config__ = EXACT

    generation: str
    made_from: dict[str, Any]
    start: str


@dataclass(frozen=True)
class Model:
    """A deployed model.

    Attributes:
        file: its file.
        stamp: its stamp.
        generation: its generation in the campaign; empty for an exported one.
        checkpoint: file of its checkpoint, for messages.
        channels: layers × features × parities of its network, which its memory is proportional to;
            of the preset `small` for an exported model, whose network is not known.
        exchange: its file for several ranks, see `for_ranks`; None if one rank is used.
    """

    file: Path
    stamp: Deployed
    generation: str
    checkpoint: Path
    channels: int
    exchange: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A production run.

    Attributes:
        settings: of the production file.
        path: the production file.
        model: the frozen model.
        cell: the structure before it is repeated.
        atoms: the whole, in LAMMPS's orientation.
        memory_GB: estimate for all walkers; None on a GPU, whose memory is not known.
        source: where the structure is from, as compared when the run goes on.
        plumed_files: files that PLUMED reads in addition to its input: name → content.
    """

    settings: ProductionSettings
    path: Path
    model: Model
    cell: Atoms
    atoms: Atoms
    memory_GB: float | None
    source: Mapping[str, Any]
    plumed_files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def walkers(self) -> tuple[str, ...]:
        """Names of the walkers."""
        return walker_names(self.settings.walkers)

    @property
    def data(self) -> bytes:
        """Content of the data file that walkers begin with."""
        return decks.data_file(self.atoms, self.model.stamp.types, velocities=False).encode()

    def identity(self) -> dict[str, Any]:
        """What must not change between the starts of a run."""
        free = {"campaign", "generation", "structure", "supercell", "length_ps", "ranks"}
        free |= {"restart_every_steps", "engines"}
        settings = self.settings.model_dump(mode="json", exclude=free)
        files = {name: hash_bytes(content) for name, content in self.plumed_files.items()}
        return {
            "model": file_hash(self.model.file),
            "structure": dict(self.source),
            **settings,
            **({"PLUMED's files": files} if files else {}),
        }


def walker_names(count: int) -> tuple[str, ...]:
    """Names of so many walkers, with which those of their files begin."""
    return tuple(f"walker-{n}" for n in range(count))


def make(
    settings: ProductionSettings,
    path: Path,
    machine: Machine | None,
    *,
    room: Room = UNKNOWN,
    begun: Begun | None = None,
) -> Plan:
    """Find the model and the structure that a production file names.

    Args:
        settings: of the file.
        path: the file; other names are relative to its folder.
        machine: where it will run; None if that is not known.
        room: what there is there.
        begun: what the run was begun with: the form of its model is used, and its generation if
            the file names none.

    Raises:
        InputError: something is missing, or does not fit.
    """
    root = path.absolute().parent / settings.campaign
    asked = None if settings.generation is None else str(settings.generation)
    store = read_campaign(root) if (root / IDENTITY).is_file() else None
    known = asked or (begun.generation or None if begun else None)
    found = _exported(root, asked) if store is None else _of_campaign(store, known)
    model = _chosen(found, machine, begun)
    atoms, source = _structure(settings, path, store)
    memory_GB = _check_size(settings, atoms, model, room)
    whole = _supercell(atoms, settings)
    text = settings.plumed or ""
    try:
        if text:
            plumed_limits.check_structure(text, whole)
        files = plumed_files.contents(text, path.absolute().parent)
    except InputError as error:
        raise InputError(f"{path}: plumed: {error}") from error
    source = {**source, "supercell": [list(row) for row in settings.supercell]}
    return Plan(settings, path, model, atoms, whole, memory_GB, source, files)


def for_ranks(plan: Plan, machine: Machine | None) -> Plan:
    """The run with its model's file for several ranks: beside it, or beside the production file.

    Args:
        plan: the run.
        machine: where it will run; None if that is not known.

    Raises:
        InputError: there is none, or it is of another model; has the command that makes it.
    """
    if plan.settings.ranks == 1:
        return plan
    model = plan.model
    name = models.name_for_ranks(model.file.name)
    here = plan.path.absolute().parent / name
    words = ("--mode", model.stamp.mode, "--target", "ranks", "-o", str(here))
    how = f"make it: phasewalk deploy {shlex.join((str(model.checkpoint), *words))}"
    if not model.checkpoint.is_file():
        how = f"make it with phasewalk deploy {shlex.join(words)} where the checkpoint is"
    file = next((one for one in (model.file.with_name(name), here) if one.is_file()), None)
    if file is None:
        raise InputError(f"ranks: the model has no file for several ranks; {how}")
    if not _stamp(file).is_file():
        raise InputError(f"{file}: has no stamp, {_stamp(file).name}; {how}")
    check_kept(file)
    stamp = _read(file)
    if (stamp.checkpoint, stamp.mode) != (model.stamp.checkpoint, model.stamp.mode):
        raise InputError(f"{file}: made from another checkpoint than {model.file}; {how}")
    if stamp.device != model.stamp.device:
        raise InputError(f"{file}: for {stamp.device}, and {model.file} is not; {how}")
    if machine is not None and (reason := models.misfit(stamp, machine)):
        raise InputError(f"{file}: {reason}; {how}")
    return replace(plan, model=replace(model, exchange=file))


def _of_campaign(store: Store, generation: str | None) -> list[Model]:
    """The forms of a generation, the fastest first."""
    state = collect(store.root, store)
    forms = deployed.forms(store.records(), state["generations"], generation)
    if not forms:
        reopen.read_generation(store, generation)  # raises, and says which there are
        raise InputError(f"{store.root}: generation {generation} has no deployed model")
    checkpoint = reopen.read_generation(store, forms[0]["generation"]).checkpoint
    channels = _channels(config.parse(*settings_text(store.root)).model)
    found = []
    for form in forms:
        file = store.checked(str(form["file"]))
        stamp = models.read_stamp(file.with_name("stamp.json"))
        found.append(Model(file, stamp, str(form["generation"]), checkpoint, channels))
    return found


def _exported(root: Path, generation: str | None) -> list[Model]:
    """The forms in a folder of `phasewalk export`, the fastest first."""
    files = [root / f"model{models.ENDINGS[mode]}" for mode in sorted(models.ENDINGS)]
    stamped = [one for one in files if one.is_file() and _stamp(one).is_file()]
    if not stamped:
        raise InputError(
            f"{root}: neither a campaign directory nor a folder of phasewalk export; correct "
            "campaign:"
        )
    if generation is not None:
        raise InputError(f"generation: {generation}: {root} has one model; remove this key")
    checkpoint = root / "checkpoint.ckpt"
    channels = _channels(ModelSettings())
    return [Model(one, _read(one), "", checkpoint, channels) for one in stamped]


def _channels(settings: ModelSettings) -> int:
    """See `Model`."""
    own = {key.rpartition(".")[2]: value for key, value in settings.overrides.items()}
    network = {**models.PRESETS[settings.preset]["network"], **own}
    return int(network["num_layers"] * network["num_features"] * (1 + network["parity"]))


def _stamp(model: Path) -> Path:
    """The stamp beside a model."""
    return model.with_name(f"{model.name}.json")


def _read(model: Path) -> Deployed:
    """The stamp beside a model, which must be unchanged."""
    stamp = models.read_stamp(_stamp(model))
    models.check_unchanged(model, stamp)
    return stamp


def _chosen(found: list[Model], machine: Machine | None, begun: Begun | None) -> Model:
    """The form that the run was begun with, or the first that runs on a machine, if it is known."""
    wanted = begun.made_from.get("model") if begun else None
    found = [one for one in found if file_hash(one.file) == wanted] or found
    if machine is None:
        return found[0]
    reasons = [models.misfit(one.stamp, machine) for one in found]
    for one, reason in zip(found, reasons, strict=True):
        if not reason:
            return one
    raise InputError(
        f"{found[0].file}: {reasons[0]}; make one for it: phasewalk deploy "
        f"{shlex.quote(str(found[0].checkpoint))} -o FOLDER/model.nequip.pth, with FOLDER as "
        "campaign: and a file as structure:"
    )


def _structure(
    settings: ProductionSettings, path: Path, store: Store | None
) -> tuple[Atoms, dict[str, Any]]:
    """The structure before it is repeated, and where it is from."""
    name = settings.structure
    systems: tuple[str, ...] = ()
    walkers: tuple[str, ...] = ()
    if store is not None:
        rounds = [record.round for record in store.records() if record.stage == SEGMENT]
        states = read_states(store.checked(states_file(max(rounds)))) if rounds else []
        structures = reopen.read_inputs(store).structures if rounds else {}
        systems, walkers = tuple(structures), tuple(state.walker for state in states)
        if name in structures:
            return structures[name], {"system": name}
        if name in walkers:
            state = states[walkers.index(name)]
            return (state.frames or [state.came_from])[0][1], {"walker": name}
    file = path.absolute().parent / name
    if not file.is_file():
        known = f" (the campaign has {', '.join((*systems, *walkers))})" if systems else ""
        raise InputError(f"{path}: structure: {name}: no such file, system or walker{known}")
    return read_structure(file), {"file": name, "sha256": file_hash(file)}


def _copies(settings: ProductionSettings) -> int:
    """Number of cells."""
    a, b, c = settings.supercell  # exact, also for huge numbers
    found = sum(a[i] * (b[i - 2] * c[i - 1] - b[i - 1] * c[i - 2]) for i in range(3))
    if found < 1:
        raise InputError(
            f"supercell: {[list(row) for row in settings.supercell]}: its determinant must be 1 or "
            "more; use positive numbers, or exchange two rows"
        )
    return found


def _check_size(
    settings: ProductionSettings, cell: Atoms, model: Model, room: Room
) -> float | None:
    """Memory of all walkers, GB; InputError if it is more than there is, or elements are unknown.

    The whole is not made before, and it is made on this machine.
    """
    unknown = sorted(set(cell.get_chemical_symbols()) - set(model.stamp.types))
    if unknown:
        raise InputError(
            f"structure: {settings.structure} has {', '.join(unknown)}, and the model knows only "
            f"{', '.join(model.stamp.types)}"
        )
    copies, needed = _copies(settings), None
    memory.check(settings, copies * len(cell), None, memory.free())
    if model.stamp.device == "cpu":
        channels, ranks = model.channels, settings.ranks
        mine = memory.of_walker(cell, copies, model.stamp, channels=channels, ranks=ranks)
        needed = settings.walkers * mine / 1e9
        memory.check(settings, copies * len(cell), needed, room.memory_GB, room.of)
    return needed


def _supercell(atoms: Atoms, settings: ProductionSettings) -> Atoms:
    """The repeated cell in LAMMPS's orientation, without velocities."""
    from ase.build import make_supercell

    whole = make_supercell(atoms, settings.supercell)
    if whole.has("momenta"):
        del whole.arrays["momenta"]
    return reduce_cell(lammps_frame(whole))
