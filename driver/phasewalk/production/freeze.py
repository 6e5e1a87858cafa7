"""Compute free energies: the campaign's walkers with one fixed model and a new bias.

The bias of a campaign makes walkers explore; it is not a free energy, since the model changes while
it grows. Here one generation is used in all segments. They are tasks of a separate store in the
campaign's directory; the campaign itself is only read:

    fes/gen-003/   campaign.json journal.jsonl lock    as in a campaign
                   rounds/000/walkers.json             initial frames of the walkers
                   models/gen-003/                     the model, if it was deployed again
                   rounds/001/… bias/                  segments and hills
                   labels/ rounds/000/label/           frames labelled by the reference
                   fes.json                            the free energies, after each segment
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import bias
from ..bias import HillsRecord
from ..campaign import Campaign, Work, deck_versions
from ..errors import InputError, NothingLeft
from ..files import hash_of, set_aside
from ..free_energies import AGREE_KT, Against, FreeEnergy
from ..generations import Generation, folder, refit
from ..labels import levels
from ..observed import Observed
from ..rounds import apart, explore, steer
from ..store import (
    BEGIN,
    ESTIMATE,
    FINAL,
    IDENTITY,
    SEGMENT,
    Segment,
    each,
    open_campaign,
    read_identity,
    reopen_campaign,
    segment_task,
)
from ..units import FS_PER_PS
from ..walkers import Walker, decks
from . import labelled, lineage, samples
from .labelled import Walked
from .samples import HILLS, Biased, Piece
from .stages import of_free_energy

MANY_STOPS = 0.1
"""Fraction of early stops above which a warning is given."""


@dataclass(frozen=True)
class Frozen:
    """The free energy of a system, with statistics of its walkers.

    Attributes:
        system: its name.
        found: the free energy.
        generation: name of the model's generation.
        checkpoint: hash of the model's checkpoint.
        segments: number of segments.
        walkers: number of walkers of the system.
        ps_per_walker: average simulated time of a walker.
        stopped_early: number of runs (of one walker in one segment) that stopped early.
        walks: number of runs of all walkers in all segments.
        explored: for each variable, the range in which the campaign deposited hills; empty if it
            deposited none.
        covered: for each variable, the fraction of that range that was sampled here.
        printed: values are from COLVAR; else from the centres of hills.
        made_from: the seed, the model, its labels, and the state of the campaign's journal.
        against: comparison with the reference on frames of this run; None if there are no labels.
    """

    system: str
    found: FreeEnergy
    generation: str
    checkpoint: str
    segments: int
    walkers: int
    ps_per_walker: float
    stopped_early: int
    walks: int
    explored: tuple[tuple[float, float], ...]
    covered: tuple[float, ...]
    printed: bool
    made_from: Mapping[str, Any]
    against: Against | None = None

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the free energy."""
        lines = []
        if self.stopped_early > MANY_STOPS * self.walks:
            lines.append(
                f"{self.stopped_early} of {self.walks} runs of walkers stopped early and continued "
                "from an earlier frame, so the model is not accurate enough for a free energy; run "
                "more rounds of the campaign"
            )
        if self.found.crossed and np.isnan(self.found.largest_error):
            lines.append(f"{self.found.crossed}; use more --segments")
        if not self.found.agree:
            lines.append(
                f"histogram and hills differ by {self.found.opinions_differ:.1f} kJ/mol (rms), "
                f"more than {AGREE_KT:g} kT, so the bias has not converged; use lower hills "
                "(--hills 0.2) or BIASFACTOR, and more --segments"
            )
        for variable, share in zip(self.found.variables, self.covered, strict=False):
            if share < 0.9:
                lines.append(
                    f"{variable.name}: only {100 * share:.0f} % of the range that the campaign "
                    "explored was sampled; use more --segments"
                )
        if self.against is not None and self.against.corrected is None:
            lines.append(f"against the reference: {self.against.verdict}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.found.as_dict(),
            "generation": self.generation,
            "checkpoint": self.checkpoint,
            "made_from": dict(self.made_from),
            "segments": self.segments,
            "walkers": self.walkers,
            "ps_per_walker": self.ps_per_walker,
            "stopped_early": self.stopped_early,
            "walks": self.walks,
            "explored": [list(ends) for ends in self.explored],
            "covered": list(self.covered),
            "samples_from": "COLVAR" if self.printed else "hills",
            "against_reference": None if self.against is None else self.against.as_dict(),
            "warnings": self.warnings,
        }


def freeze(
    work: Work,
    generation: Generation,
    segments: int,
    *,
    bins: int | None = None,
    hills: float = HILLS,
    against: int = 0,
    seed: int | None = None,
) -> dict[str, Frozen]:
    """The free energy of each system with METAD; also written to `fes.json` after each segment.

    Existing segments of this generation are used.

    Args:
        work: the campaign; its store may be open for reading only.
        generation: whose model is used.
        segments: number of segments; if more exist, all are used.
        bins: number of bins of each variable.
        hills: height of the hills, relative to the campaign's.
        against: number of frames of each system to label with the reference at the end.
        seed: of an independent run, which has a folder of its own; None: the campaign's.

    Raises:
        InputError: no system has METAD; NothingLeft: there is no frame to use.
    """
    systems = samples.biased(work.campaign.settings.systems)
    work = replace(work, campaign=work.campaign.with_seed(seed))
    campaign = _campaign(work.campaign, generation, [system.name for system in systems], hills)
    systems = samples.biased(campaign.settings.systems)
    root = work.store.root / place(generation.name, hills, seed)
    identity = _identity(campaign, generation)
    _keep_apart(work, root, identity)
    _check_same(root, identity)
    with closing(open_campaign(root, identity)) as opened:
        launcher = Observed(work.launcher, work.store.beat)  # keeps the campaign's lock
        existing = sum(record.stage == SEGMENT for record in opened.records())
        observer = of_free_energy(work.observer, generation.name, max(segments, existing))
        frozen = Work(campaign, opened, launcher, work.engines, observer)
        _begin(work, frozen, generation)
        generation = refit.refit(work, frozen, generation, segments - existing)
        found, sampled = _walk(work, frozen, generation, systems, segments=segments, bins=bins)
        compared = labelled.compare(work, frozen, generation, sampled, against)
        if compared:
            found = {name: replace(one, against=compared.get(name)) for name, one in found.items()}
            _keep(frozen, found)
        return found


def place(name: str, hills: float, seed: int | None = None) -> str:
    """Folder of the free energies of a generation, relative to the campaign's directory."""
    more = "" if hills == HILLS else f"-hills-{hills:g}"
    more += "" if seed is None else f"-seed-{seed}"
    return f"fes/{folder(name).partition('/')[2]}{more}"


def _campaign(
    campaign: Campaign, generation: Generation, names: Sequence[str], hills: float
) -> Campaign:
    """The campaign's settings for this: no ramp, one bias for all walkers, no resets by labels."""
    settings = campaign.settings
    systems = {
        name: settings.systems[name].model_copy(
            update={
                "temperature_ramp": None,
                "plumed": samples.lower(settings.systems[name].plumed or "", hills),
                "bias_sharing": settings.systems[name].bias_sharing.replace("own", "merged"),
            }
        )
        for name in names
    }
    policy = settings.policy.model_copy(update=dict.fromkeys(settings.policy.limits()))
    seed = int(hash_of("fes", settings.seed, generation.name)[:7], 16)  # differs from its rounds'
    changed = {"systems": systems, "policy": policy, "seed": seed}
    return replace(campaign, settings=settings.model_copy(update=changed))


def _identity(campaign: Campaign, generation: Generation) -> dict[str, Any]:
    """Everything that must not change while segments are added."""
    settings = campaign.settings
    return {
        "name": settings.campaign,
        "generation": generation.name,
        "checkpoint": generation.checkpoint_hash,
        "timestep_fs": settings.segment.timestep_fs,
        deck_versions.KEY: decks.DECK,
        "systems": {
            name: {
                "plumed": system.plumed,
                "ensemble": system.ensemble,
                "temperature_K": system.temperature_K,
                "pressure_MPa": system.pressure_MPa,
                "bias_sharing": system.bias_sharing,
            }
            for name, system in settings.systems.items()
        },
    }


def _keep_apart(work: Work, root: Path, identity: Mapping[str, Any]) -> None:
    """Set aside segments of an earlier model of this name, or of an earlier deck version.

    Segments of two models or ensembles are never combined.
    """
    if not (root / IDENTITY).is_file():
        return
    before = {deck_versions.KEY: 1, **read_identity(root)}
    other = {key for key, value in identity.items() if before.get(key) != value}
    if not other or not other <= {"checkpoint", deck_versions.KEY}:
        return
    reopen_campaign(root).close()  # StoreError if another process works there
    kept = set_aside(root, "earlier")
    if "checkpoint" in other:
        earlier = f"generation {identity['generation']} was trained again; the free energy of the "
        earlier += "earlier model"
    else:
        earlier = f"the free energy from deck version {before[deck_versions.KEY]}"
    work.observer.say(f"{earlier} is kept in {kept}; a new one is started")


def _check_same(root: Path, identity: Mapping[str, Any]) -> None:
    """Raise InputError if existing segments have other settings."""
    if not (root / IDENTITY).is_file():
        return
    before = {key: value for key, value in read_identity(root).items() if key in identity}
    changes = levels.difference(before, identity)
    if changes:
        raise InputError(
            f"{root}: its segments were made with other settings or another model ({changes}); "
            "rename that directory to start a new free energy"
        )


def _begin(campaign: Work, frozen: Work, generation: Generation) -> None:
    """Copy the present frames of the campaign's walkers, once; without labels and hills.

    Frames that a round of the campaign would not begin at are not used; see `rounds.apart`.
    """
    if frozen.store.find(segment_task(0)) is not None:
        return
    rounds = [r.round for r in campaign.store.records() if r.stage == SEGMENT]
    after = generation.number if generation.name != FINAL else max(rounds, default=0)
    current, elsewhere = apart.stand(campaign, after)
    for name in frozen.campaign.settings.systems:
        if apart.untested(campaign, name):
            frozen.observer.say(
                f"{name}: its start frames are not tested: bonds are free, and policy has no limit"
            )
    for one in current:
        if one.id in elsewhere and one.system in frozen.campaign.settings.systems:
            frozen.observer.say(f"{one.id} begins at the start structure: {elsewhere[one.id]}")
    seeds = [
        steer.state_json(
            Walker(one.id, one.system, one.index, one.atoms, 0),
            next_step=0,
            frames=[(0, one.atoms)],
            broke=False,
        )
        for one in current
        if one.system in frozen.campaign.settings.systems
    ]
    name = steer.states_file(0)
    frozen.store.keep(name, json.dumps(seeds).encode())
    frozen.note(segment_task(0), BEGIN, 0, {"after_round": after})


def _walk(
    campaign: Work,
    frozen: Work,
    generation: Generation,
    systems: Sequence[Biased],
    *,
    segments: int,
    bins: int | None,
) -> tuple[dict[str, Frozen], list[Walked]]:
    """Run the segments and compute the free energies after each; all samples of each system."""
    last = sum(record.stage == SEGMENT for record in frozen.store.records())
    pieces: dict[str, list[Piece]] = {system.name: [] for system in systems}
    found: dict[str, Frozen] = {}
    for number in range(1, max(segments, last) + 1):
        if number > last:
            explore.segment(frozen, number, generation)
        found, final = {}, number == max(segments, last)
        for system in systems:
            record = _hills(frozen, system, number)
            pieces[system.name] += samples.pieces(frozen, system, number, record)
            if number < last:
                continue  # an existing segment
            try:
                free = samples.estimate(pieces[system.name], record, system, bins=bins)
            except NothingLeft:
                if final:
                    raise
                continue
            found[system.name] = _frozen(
                campaign, frozen, generation, system, free=free, pieces=pieces
            )
        if found:
            _keep(frozen, found)
    return found, [
        Walked(system, found[system.name].found, pieces[system.name]) for system in systems
    ]


def _keep(frozen: Work, found: Mapping[str, Frozen]) -> None:
    """Write `fes.json`."""
    number = max(one.segments for one in found.values())
    text = json.dumps({name: one.as_dict() for name, one in found.items()}, indent=1)
    frozen.store.keep("fes.json", text.encode())
    frozen.note("free energies", ESTIMATE, number, {"segments": number})


def _hills(work: Work, system: Biased, number: int) -> HillsRecord:
    """The hills after a segment, without those deposited after a frame that a walker returns to."""
    _, decisions = steer.stand(work, number + 1)
    return steer.hills(work, system.name, number + 1, decisions)


def _frozen(
    campaign: Work,
    frozen: Work,
    generation: Generation,
    system: Biased,
    *,
    free: FreeEnergy,
    pieces: Mapping[str, Sequence[Piece]],
) -> Frozen:
    done = [found for _, found in each(frozen.store.records(), Segment)]
    entries = [entry for one in done for entry in one.walkers if entry.system == system.name]
    steps = sum(entry.steps_done for entry in entries)
    walkers = len({entry.walker for entry in entries})
    explored = _explored(campaign, system)
    covered = [free.covered(axis, ends) for axis, ends in enumerate(explored)]
    records = campaign.store.records()
    made_from = lineage.made_from(records, generation.name, generation.checkpoint_hash)
    return Frozen(
        system=system.name,
        found=free,
        generation=generation.name,
        checkpoint=generation.checkpoint_hash,
        segments=len(done),
        walkers=walkers,
        ps_per_walker=steps * frozen.campaign.settings.segment.timestep_fs / FS_PER_PS / walkers,
        stopped_early=sum(entry.halted is not None for entry in entries),
        walks=len(entries),
        explored=explored,
        covered=tuple(covered),
        printed=all(piece.printed for piece in pieces[system.name]),
        made_from={"seed": campaign.campaign.settings.seed, **made_from},
    )


def _explored(campaign: Work, system: Biased) -> tuple[tuple[float, float], ...]:
    """For each variable, the range in which the campaign deposited hills."""
    last = max((r.round for r in campaign.store.records() if r.stage == SEGMENT), default=0)
    record = steer.hills(campaign, system.name, last + 1, ())
    centres = bias.gaussians(record, action=system.action).centres
    return tuple((float(c.min()), float(c.max())) for c in centres.T if len(c))
