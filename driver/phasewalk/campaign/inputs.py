"""A campaign: its settings and all files that they refer to."""

import hashlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..bias import colvars, metad_actions
from ..engines import available_cores, which
from ..errors import InputError
from ..files import read_text
from ..labels import Label, Level, content_hash
from ..reference import Reference, cp2k_input, programs
from ..structures import (
    carried,
    cell_multiple,
    fingerprint,
    read_structure,
    reduced_formula,
    species,
)
from ..validation import read_labelled
from ..walkers import SystemSettings
from . import begun, guards, plumed_inputs
from .config import CampaignSettings, check_atoms, check_walkers, parse

BOOTSTRAP_COUNT = 32
MAX_CHARGE = 0.01
"""Maximum deviation of a cell's charge from an integer, for rounded charges (e)."""


@dataclass(frozen=True)
class Campaign:
    """Validated settings and the content of all files that they refer to.

    Attributes:
        path: the campaign file.
        text: its content, as copied to the campaign directory.
        settings: its settings.
        structures: start structure of each system.
        types: species of the model, in its order.
        cell_multiples: number of primitive cells in each system.
        test_data: labelled test frames for all generations; empty if none are given.
        reference: the reference program that computes labels.
        initial: labels to start from, after `theory.settle` at the campaign's level of theory.
        plumed_files: files that PLUMED reads in addition to its input: name → content.
    """

    path: Path
    text: str
    settings: CampaignSettings
    structures: Mapping[str, Atoms]
    types: tuple[str, ...]
    cell_multiples: Mapping[str, int]
    test_data: tuple[Label, ...]
    reference: Reference
    initial: tuple[Label, ...] = ()
    plumed_files: Mapping[str, bytes] = field(default_factory=dict)

    def with_seed(self, seed: int | None) -> "Campaign":
        """The same with another seed; None: with its own."""
        changed = {} if seed is None else {"seed": seed}
        return replace(self, settings=self.settings.model_copy(update=changed))

    @property
    def cores(self) -> int:
        """Number of cores to use."""
        return self.settings.resources.cores or available_cores()

    @property
    def walkers(self) -> int:
        """Number of walkers of all systems."""
        return self.settings.walkers

    @property
    def bootstrap_count(self) -> int:
        """Number of perturbed structures per system to label in the bootstrap."""
        count = self.settings.bootstrap.count
        return count if count is not None else 0 if self.initial else BOOTSTRAP_COUNT

    def level(self, system: str) -> Level:
        """The level of theory of a system's labels."""
        return self.reference.method.at(self.cell_multiples[system])

    def remarks(self) -> list[str]:
        """Notes on moments, charges, masses and fixed atoms of the structures."""
        carries = {name: carried.described(atoms) for name, atoms in self.structures.items()}
        found = [f"{name} has {words}" for name, words in carries.items() if words]
        for one, other in itertools.combinations(self.structures, 2):
            both = self.structures[one], self.structures[other]
            states = [carried.extras(atoms).get(carried.MOMENTS, np.zeros(1)) for atoms in both]
            alike = reduced_formula(both[0]) == reduced_formula(both[1])
            if alike and sorted(states[0].ravel()) != sorted(states[1].ravel()):
                found.append(
                    f"{one} and {other} start from different magnetic moments, which are not an "
                    "input of the model: for equal geometries it cannot reproduce both energies"
                )
        return found

    def identity(self) -> dict[str, Any]:
        """Settings that must not change during a campaign; see `store.open_campaign`."""
        model = self.settings.model
        return {
            "name": self.settings.campaign,
            "seed": self.settings.seed,
            "species": list(self.types),
            "structures": {n: _identity(a) for n, a in self.structures.items()},
            "level of theory": self.reference.method.as_dict(),
            "initial data": hash_labels(self.initial),
            "cell_multiple": dict(self.cell_multiples),
            "model": begun.network_in_words(model),
            "model overrides": {
                k: v for k, v in model.overrides.items() if k.startswith("training_module.model.")
            },
        }


def load(path: Path, environ: Mapping[str, str] | None = None) -> Campaign:
    """Read and validate a campaign file and all files that it refers to; nothing is started.

    Raises:
        InputError: one line with place and problem.
    """
    text = read_text(path)
    settings, text, _ = plumed_inputs.expanded(parse(text, str(path)), text, path)
    folder = path.parent
    structures = {
        name: _at(f"{path}: systems.{name}", read_structure, folder / system.structure)
        for name, system in settings.systems.items()
    }
    structures = {
        name: _at(f"{path}: systems.{name}", _usable, atoms, settings, name)
        for name, atoms in structures.items()
    }
    plumed_inputs.check(settings, structures, path)
    check_atoms(settings, structures, path)
    types = _types(path, settings, structures)
    campaign = Campaign(
        path=path,
        text=text,
        settings=settings,
        structures=structures,
        types=types,
        cell_multiples=_cell_multiples(path, settings, structures),
        test_data=tuple(_labelled(path, "test_data", settings.test_data, types)),
        reference=_at(str(path), programs.load, settings.reference, folder, environ or {}),
        initial=tuple(
            _labelled(
                path,
                "initial_data",
                settings.initial_data.file if settings.initial_data else None,
                types,
            )
        ),
        plumed_files=plumed_inputs.files(settings, folder, path),
    )
    guards.of(campaign)  # refuses what it cannot leave out
    _check_counts(campaign)
    _check_kinds(campaign)
    _check_program(campaign)
    _check_goals(campaign)
    return campaign


def _usable(atoms: Atoms, settings: CampaignSettings, name: str) -> Atoms:
    """The structure, if its walkers and the reference can use all of its properties.

    Charges with a sum of zero are removed for CP2K, which does not use them.
    """
    found, reference = carried.extras(atoms), settings.reference
    count = int(carried.fixed(atoms).sum())
    thermostat = settings.systems[name].thermostat
    if len(atoms) == 1 and thermostat != "langevin":
        raise InputError(
            f"the structure has one atom, which does not move with thermostat: {thermostat}, "
            "because the center of mass is kept at rest; write thermostat: langevin, or use a "
            "supercell"
        )
    if count and settings.systems[name].ensemble == "npt":
        raise InputError(
            f"{count} atoms of the structure are fixed, but ensemble: npt moves them with the "
            "cell; write ensemble: nvt, or remove the constraints"
        )
    moments, total = (
        found.get(carried.MOMENTS),
        float(found.get(carried.CHARGES, np.zeros(1)).sum()),
    )
    if reference.cp2k and moments is not None:
        raise InputError(
            "the structure has magnetic moments, which CP2K reads only from its own input; write "
            "MAGNETIZATION into the &KIND sections there, and remove them from the structure"
        )
    if reference.cp2k and abs(total) > MAX_CHARGE:
        raise InputError(
            f"the sum of charges of the structure is {total:.4g} e, but CP2K reads the charge only "
            "from its own input; write CHARGE into &DFT there, and remove charges from the "
            "structure"
        )
    if reference.program == "xtb" and moments is not None and moments.ndim > 1:
        raise InputError("the structure has non-collinear moments, which xTB does not support")
    if reference.program == "xtb" and abs(total - round(total)) > MAX_CHARGE:
        raise InputError(
            f"the sum of charges of the structure is {total:.4g} e, but xTB uses it as the charge "
            "of the cell, which must be an integer; correct or remove the charges"
        )
    if reference.cp2k and carried.CHARGES in found:
        atoms = atoms.copy()
        del atoms.arrays[carried.CHARGES]
    return atoms


def _check_counts(campaign: Campaign) -> None:
    """Raise InputError if there are too few labels to start with, or too many walkers.

    Without `resources.cores` the number of cores is that of the launcher, which is not known yet.
    """
    path, settings = campaign.path, campaign.settings
    first = campaign.bootstrap_count * len(campaign.structures) + len(campaign.initial)
    if first < settings.validation_every:
        raise InputError(
            f"{path}: bootstrap.count gives {first} labels, fewer than validation_every: "
            f"{settings.validation_every}, so that none is held out for validation; increase "
            "bootstrap.count or decrease validation_every"
        )
    if settings.resources.cores:
        check_walkers(settings, settings.resources.cores, path)
    if settings.reference.imported and (settings.rounds or campaign.bootstrap_count):
        raise InputError(
            f"{path}: reference.imported computes no labels, but rounds: {settings.rounds} and "
            f"bootstrap.count: {campaign.bootstrap_count} require some; set both to 0, or give a "
            "program (reference.xtb, cp2k, ase, function)"
        )


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
            f"{path}: model.species does not contain {', '.join(missing)}, which the structures "
            "contain; add it (species cannot be added later)"
        )
    return tuple(sorted(set(settings.model.species)))


def _cell_multiples(
    path: Path, settings: CampaignSettings, structures: Mapping[str, Atoms]
) -> dict[str, int]:
    """Number of primitive cells in each system; equal for all systems of one composition.

    The k-point sampling depends on the cell, so that another cell size is another level of theory.
    """
    declared = {name: settings.systems[name].cell_multiple for name in structures}
    multiples = {n: declared[n] or cell_multiple(atoms) for n, atoms in structures.items()}
    groups: dict[str, list[str]] = {}
    for name, atoms in structures.items():
        groups.setdefault(reduced_formula(atoms), []).append(name)
    for names in groups.values():
        for one, other in itertools.combinations(names, 2):
            sizes = sorted(len(structures[name]) for name in (one, other))
            hidden = (  # the symmetry of a distorted supercell does not show its size
                sizes[0] != sizes[1]
                and sizes[1] % sizes[0] == 0
                and None in (declared[one], declared[other])
            )
            if multiples[one] != multiples[other] or hidden:
                raise InputError(
                    f"{path}: systems.{one} ({len(structures[one])} atoms) and systems.{other} "
                    f"({len(structures[other])} atoms) have the same composition, but different "
                    "cell sizes and therefore different k-point sampling, which is another level "
                    "of theory and cannot train the same model; use cells of the same size, or, "
                    "for different crystals, set the number of primitive cells "
                    "(systems.*.cell_multiple) to the same value"
                )
    return multiples


def _check_kinds(campaign: Campaign) -> None:
    """Raise InputError if the CP2K input has no section for an element."""
    read = campaign.reference.input
    missing = cp2k_input.kinds_missing(read, campaign.types) if read else []
    if read and missing:
        raise InputError(
            f"{read.path}: SUBSYS has no &KIND {missing[0]}, which is one of the model's species; "
            "add it, with BASIS_SET and POTENTIAL"
        )


def _check_goals(campaign: Campaign) -> None:
    """Raise InputError if a stop rule can never be met, or is exceeded before the first round."""
    path, stop, systems = campaign.path, campaign.settings.stop, campaign.settings.systems
    if stop.errors and stop.errors.on == "test" and not campaign.test_data:
        raise InputError(f"{path}: stop.errors.on: test requires test_data; give a file")
    if stop.errors and stop.errors.rounds > campaign.settings.rounds:
        raise InputError(
            f"{path}: stop.errors.rounds: {stop.errors.rounds} exceeds rounds: "
            f"{campaign.settings.rounds}, so that it can never be met; decrease it or increase "
            "rounds"
        )
    first = campaign.bootstrap_count * len(systems)
    if stop.max_labels is not None and stop.max_labels < first:
        raise InputError(
            f"{path}: stop.max_labels: {stop.max_labels}, but the bootstrap requires {first} "
            "(bootstrap.count); increase max_labels or decrease bootstrap.count"
        )
    for number, goal in enumerate(stop.covered or ()):
        place = f"{path}: stop.covered[{number}]"
        if goal.system is None and len(systems) > 1:
            raise InputError(f"{place}: give the system ({', '.join(systems)})")
        name = goal.system or next(iter(systems))
        if name not in systems:
            raise InputError(f"{place}: unknown system {name}; use one of {', '.join(systems)}")
        pushed = _at(f"{path}: systems.{name}", _pushed, systems[name])
        if goal.colvar not in pushed:
            known = ", ".join(pushed) or "none, because its plumed has no METAD"
            raise InputError(
                f"{place}: {goal.colvar} is not biased by METAD in {name} (biased: {known})"
            )
    if stop.free_energy:
        _check_free_energy(campaign)


def _check_free_energy(campaign: Campaign) -> None:
    """Raise InputError if `phasewalk fes` does not support the systems."""
    place, found = f"{campaign.path}: stop.free_energy", 0
    for name, system in campaign.settings.systems.items():
        actions = metad_actions(system.plumed or "")
        if len(actions) > 1:
            raise InputError(f"{place}: {name} has {len(actions)} METAD actions; use one")
        for action in actions.values():
            found += 1
            if (action.get("ADAPTIVE") or "").upper() == "GEOM" or len(_pushed(system)) > 2:
                raise InputError(
                    f"{place}: METAD in {name} has more than two variables or ADAPTIVE=GEOM, which "
                    "is not supported"
                )
    if not found:
        raise InputError(f"{place}: requires a system with METAD in its plumed")


def _pushed(system: SystemSettings) -> tuple[str, ...]:
    """The variables that METAD biases."""
    return colvars.variables(system.plumed)[0] if system.plumed else ()


def _check_program(campaign: Campaign) -> None:
    """Raise InputError if the reference program is not found; it runs in another directory."""
    program = next(iter(campaign.reference.command), sys.executable)
    if not Path(program).is_absolute() and ("/" in program or which(program) is None):
        key = "cp2k.command" if campaign.settings.reference.cp2k else "command"
        raise InputError(
            f"{campaign.path}: reference.{key}: program {program!r} not found in PATH; give its "
            "absolute path"
        )


def _labelled(path: Path, key: str, file: str | None, types: tuple[str, ...]) -> list[Label]:
    """Read labelled frames; InputError if the model does not have their species."""
    if file is None:
        return []
    labels: list[Label] = _at(f"{path}: {key}", read_labelled, path.parent / file)
    unknown = sorted({s for label in labels for s in label.atoms.symbols} - set(types))
    if unknown:
        raise InputError(
            f"{path}: {key} contains {', '.join(unknown)}, which is not a species of the model; "
            "add it to model.species"
        )
    return labels


def _identity(atoms: Atoms) -> str:
    """Hash of a structure, including masses and fixed atoms if there are any."""
    found = carried.extras(atoms)
    motion = [found[name].tobytes() for name in (carried.MASSES, carried.FIXED) if name in found]
    more = f" {hashlib.sha256(b' '.join(motion)).hexdigest()[:8]}" if motion else ""
    return fingerprint(atoms)[:16] + more


def hash_labels(labels: Sequence[Label]) -> str:
    """Hash of the values of all labels; empty if there are none."""
    text = " ".join(content_hash(label) for label in labels)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if labels else ""
