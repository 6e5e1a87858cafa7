"""A methods paragraph for a paper, with BibTeX, that describes what a campaign has done.

Labels, rounds, generations, compilations and versions are from the journal; settings are those with
which the campaign was last run.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from ..bias import colvars, plumed, quantities
from ..campaign import CampaignSettings
from ..errors import InputError
from ..labels import levels
from ..models import PRESETS
from ..status import History, verdict
from ..store import FINAL, FREE_ENERGY, PRODUCTION, SEGMENT, Segment, Versions, each
from ..units import FS_PER_PS
from ..walkers import SystemSettings, policy

THERMOSTATS = {
    "langevin": "a Langevin thermostat [@schneider1978]",
    "csvr": "stochastic velocity rescaling [@bussi2007]",
    "nose-hoover": "Nosé–Hoover chains [@nose1984; @hoover1985]",
}
PROGRAMS = {"GFN1-xTB": " [@grimme2017]", "GFN2-xTB": " [@bannwarth2019]", "CP2K": " [@kuhne2020]"}
OPTIMIZERS = {"muon": "Muon [@jordan2024] and Adam [@kingma2014]", "adam": "Adam [@kingma2014]"}
DESCRIBED = {"METAD", "PRINT", "UNITS", "FLUSH"}
"""Actions that the paragraph describes, or that do not change the dynamics."""
BIAS = re.compile("RESTRAINT|(UPPER|LOWER)_WALLS|EXTERNAL|MOVINGRESTRAINT|BIASVALUE")


def text(found: History) -> str:
    """The paragraph in Markdown with citations as `[@key]`, followed by their BibTeX entries.

    Raises:
        InputError: the campaign's settings cannot be read, or nothing is trained yet.
    """
    settings = found.settings
    if settings is None:
        raise InputError(f"{found.root}: its settings cannot be read: {'; '.join(found.problems)}")
    if not found.state["generations"]:
        raise InputError(
            f"{found.root}: no generation is trained yet, so there are no methods to describe"
        )
    sentences = [
        *_beginning(found, settings),
        *_walking(found, settings),
        *_labelling(found),
        *_training(found, settings),
        *_measured(found),
        *_free_energies(found),
    ]
    paragraph = " ".join(sentences)
    return f"{paragraph}\n\n{bibtex(paragraph)}"


def bibtex(paragraph: str) -> str:
    """The BibTeX entries of a text's citations, in their order."""
    content = files(__package__).joinpath("citations.bib").read_text(encoding="utf-8")
    entries = {
        match[1]: f"{entry.strip()}\n"
        for entry in re.split(r"\n(?=@)", content)
        if (match := re.match(r"@\w+\{([^,]+),", entry))
    }
    cited = dict.fromkeys(re.findall(r"[\[ ]@(\w+)(?=[;\]])", paragraph))
    return "\n".join(entries[key] for key in cited if key in entries)


def _versions(found: History) -> Mapping[str, str]:
    """Versions of engines from the journal; several if they changed."""
    seen: dict[str, list[str]] = {}
    for _, noted in each(found.records, Versions):
        for name, value in noted.versions.items():
            seen.setdefault(name, [])
            seen[name] += [str(value)] if str(value) not in seen[name] else []
    return {name: f" (version {' and '.join(values)})" for name, values in seen.items()}


def _beginning(found: History, settings: CampaignSettings) -> Iterator[str]:
    """Sentences on the species and the first labels."""
    versions = _versions(found)
    species = ", ".join(found.state["identity"].get("species", ()))
    ours = versions.get("phasewalk", f" (version {_here('phasewalk')})")
    given, first = found.state["labels"]["initial"], found.state["rounds"][0]["labels"]
    how = "" if settings.reference.imported else " by incremental learning [@vandenhaute2023]"
    yield f"An interatomic potential for {species} was learned{how} with phasewalk{ours}."
    if given:
        yield f"{given} labelled configurations were given."
    if first and settings.bootstrap.count != 0:
        yield (
            f"The first {first} configurations were random perturbations of the start "
            f"structure{'s' if len(settings.systems) > 1 else ''}: Cartesian displacements of up "
            f"to {settings.bootstrap.displacement_A:g} Å, and up to "
            f"{settings.bootstrap.strain:g} in each component of the strain."
        )


def _here(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not recorded"


def _walking(found: History, settings: CampaignSettings) -> Iterator[str]:
    """Sentences on the segments; none if no segment is finished."""
    segments = [segment for _, segment in each(found.records, Segment)]
    if not segments:
        return
    versions = _versions(found)
    rounds, steps = len(segments), settings.segment
    done = {
        max((walker.steps_done for walker in segment.walkers), default=0) for segment in segments
    }
    lengths = sorted(f"{count * steps.timestep_fs / FS_PER_PS:g}" for count in done)
    yield (
        f"In each of {rounds} round{'s' if rounds > 1 else ''}, the last potential drove molecular "
        f"dynamics in LAMMPS{versions.get('lammps', '')} [@thompson2022] with a time step of "
        f"{steps.timestep_fs:g} fs, {' or '.join(lengths)} ps for each walker."
    )
    for name, system in settings.systems.items():
        yield from _system(name, system, settings, alone=len(settings.systems) == 1)
    yield from _resets(settings, found.state["intact"], recorded=segments[0].limits is not None)


def _resets(
    settings: CampaignSettings, intact: Mapping[str, Any], *, recorded: bool
) -> Iterator[str]:
    """A sentence on errors that reset walkers and keep labels out of training, if any do.

    Args:
        settings: of the campaign.
        intact: numbers of resets and labels, from the state.
        recorded: not begun by an earlier version, whose walkers kept their hills after a reset, and
            which did not record the reasons of resets.
    """
    limits = policy.resets_in_words(settings.policy)
    held = policy.hold_out_in_words(settings.policy)
    parts = []
    if limits:
        count = sum(intact["resets"].get(kind, 0) for kind in (policy.ENERGY, policy.FORCE))
        happened = f" (this happened {count} times)" if recorded else ""
        without = ", without its hills of that round," if recorded else ""
        parts.append(
            f"a walker began the next round at its start structure{without} if the potential's "
            f"error on its labelled frame exceeded {limits}{happened}"
        )
    if held:
        parts.append(
            f"labels of frames on which this error exceeded {held} were not used for training "
            f"({intact['labels_held_out']} labels)"
        )
    sentence = "; ".join(parts)
    yield from [f"{sentence[0].upper()}{sentence[1:]}."] if sentence else []


def _system(
    name: str, system: SystemSettings, settings: CampaignSettings, *, alone: bool
) -> Iterator[str]:
    """Sentences on ensemble and bias of a system."""
    ramp = system.temperature_ramp
    heat = f"{system.temperature_K:g} K"
    if ramp is not None:
        heat += f" (from {ramp.from_K:g} K over the first {ramp.rounds} rounds)"
    damping = f"{settings.segment.thermostat_damping_fs:g} fs"
    cell = "at constant volume"
    if system.ensemble == "npt":
        cell = (
            f"at {system.pressure_MPa or 0.0:g} MPa in a fully flexible cell (barostat after "
            f"[@martyna1994; @shinoda2004], {settings.segment.barostat_damping_fs:g} fs)"
        )
    who = f"{system.walkers} walker{'s' if system.walkers > 1 else ''}"
    of = who if alone else f"{who} of {name}"
    yield (
        f"{of[0].upper()}{of[1:]} ran at {heat} with {THERMOSTATS[system.thermostat]} "
        f"(relaxation time {damping}) {cell}."
    )
    if system.plumed:
        yield from _bias(system)


def _bias(system: SystemSettings) -> Iterator[str]:
    """Sentences on metadynamics, with parameters and units, and on other biases."""
    text_ = system.plumed or ""
    actions = plumed.parse(text_)
    units, energy = quantities.units(text_), quantities.energy(text_)
    many = system.walkers > 1 and system.bias_sharing != "own"
    cited = "[@tribello2014; @plumed2019]"
    for action in plumed.metad_actions(text_).values():
        names = colvars.arguments(action)
        factor = action.get("BIASFACTOR")
        kind = (
            "well-tempered metadynamics [@laio2002; @barducci2008]"
            if factor
            else "metadynamics [@laio2002]"
        )
        if many:
            kind = f"multiple-walker [@raiteri2006] {kind}"
        widths = (action.get("SIGMA") or "").split(",")
        described = [
            f"{name} (width of hills {width}{_unit(quantities.of(name, units))})"
            for name, width in zip(names, widths, strict=False)
        ]
        hills = [f"hills of {action.get('HEIGHT')} {energy}"] if action.get("HEIGHT") else []
        hills += [f"one every {action.get('PACE')} steps"] if action.get("PACE") else []
        hills += [f"bias factor {factor}"] if factor else []
        variables = " and ".join(described or names)
        yield f"PLUMED {cited} biased {variables} by {kind}: {', '.join(hills)}."
    others = Counter(action.name for action in actions if BIAS.fullmatch(action.name))
    if others:
        listed = ", ".join(f"{count} × {name}" for name, count in others.items())
        yield f"Further biases of PLUMED{'' if 'METAD' in text_ else f' {cited}'}: {listed}."


def _unit(unit: str | None) -> str:
    """A unit to append to a number; None if it is not known."""
    return " in the unit of the PLUMED text" if unit is None else f" {unit}".rstrip()


def _labelling(found: History) -> Iterator[str]:
    """Sentences on the labels."""
    labels = found.state["labels"]
    try:
        level = levels.from_dict(found.state["identity"].get("level of theory"))
    except InputError:
        return
    settings = found.settings
    version_ = f" ({level.version})" if level.version else ""
    cited = PROGRAMS.get(level.program, "")
    if settings and settings.reference.ase:
        cited = " through ASE [@larsen2017]"
    if settings and settings.reference.imported:
        yield f"Energies, forces and stresses are those of the given data ({level.program})."
        return
    if not labels["done"]:
        return
    failed = f"; {labels['failed']} could not be computed" if labels["failed"] else ""
    taken = (
        "; in each round the last good frame of each walker was labelled and added to the "
        "training or validation set"
        if any(r.stage == SEGMENT for r in found.records)
        else ""
    )
    added, count = labels["added_from"], labels["done"] + labels["added"]
    shown = ", ".join(f"{key} {value}" for key, value in level.settings.items())
    detail = f"; settings: {shown}" if shown and len(shown) < 200 else ""
    yield (
        f"Energies, forces and stresses of {count} configurations were computed with "
        f"{level.program}{cited}{version_}{failed}{taken} (fingerprint of the level of theory "
        f"{level.method}{detail})."
    )
    frames = {
        FREE_ENERGY: "frames of the walkers of a free energy, evenly spread along the variable",
        PRODUCTION: "frames of a long run that were unlike all earlier ones",
    }
    for source, what in frames.items():
        if added[source]:
            yield f"{added[source]} of these are {what}; the last model was trained on them, too."


def _training(found: History, settings: CampaignSettings) -> Iterator[str]:
    """Sentences on the network, its training and compilation."""
    model, versions = settings.model, _versions(found)
    network: Mapping[str, Any] = PRESETS[model.preset]["network"]
    generations = found.state["generations"]
    zbl = ", with the ZBL repulsion [@ziegler1985]" if model.zbl else ""
    changed = f"; changed: {', '.join(map(str, model.overrides))}" if model.overrides else ""
    yield (
        f"The potential is a NequIP network [@batzner2022; @tan2025]{versions.get('nequip', '')} "
        f"of {network['num_layers']} interaction layers, l_max = {network['l_max']}, "
        f"{network['num_features']} features, parity {'on' if network['parity'] else 'off'}, and a "
        f"cutoff of {model.cutoff_A:g} Å, in {model.dtype}{zbl}{changed}."
    )
    weights, epochs = model.loss_weights, _epochs(generations)
    optimizer = OPTIMIZERS[model.optimizer]
    yield (
        f"It was trained in PyTorch{versions.get('torch', '')} [@ansel2024] with {optimizer} "
        f"in batches of {model.batch_size}; the weights of energies per atom (eV), "
        f"forces (eV/Å) and stress (eV/Å³) in the loss were {weights.energy:g}, {weights.forces:g} "
        f"and {weights.stress:g}. {epochs}"
    )
    modes = Counter(entry["mode"] for entry in generations if "mode" in entry)
    names = {"aotinductor": "AOTInductor", "torchscript": "TorchScript"}
    if modes:
        compilers = " and ".join(names.get(mode, mode) for mode in modes)
        yield f"For LAMMPS it was compiled with {compilers}."


def _epochs(generations: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on epochs and labels of the generations."""
    parts = []
    for entry in (e for e in generations if e["generation"] != FINAL):
        if entry["generation"] == "0":
            parts.append(
                f"generation 0 on {entry['training_labels']} labels for {entry['epochs']} epochs"
            )
    later = [e for e in generations if e["generation"] not in ("0", FINAL)]
    if later:
        counts = sorted({e["epochs"] for e in later})
        parts.append(
            f"each later one, starting from the previous weights, for "
            f"{' or '.join(map(str, counts))} epochs"
        )
    final = next((e for e in generations if e["generation"] == FINAL), None)
    if final:
        parts.append(
            f"the final model on all {final['training_labels']} labels for {final['epochs']} epochs"
        )
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _measured(found: History) -> Iterator[str]:
    """Sentences on errors, on the test set and on new frames before the training on them."""
    parts = []
    if tested := verdict.tested(found):
        parts.append(
            (f"On {tested[1]['frames']} test configurations, generation {tested[0]}", tested[1])
        )
    now = verdict.errors_now(found)
    if now and not (tested and now[1] is tested[1]):
        parts.append((f"On the {now[0]}, the potential", now[1]))
    for who, errors in parts:
        yield (
            f"{who} had a mean absolute error of {errors['force_mae_meV_per_A']:.0f} meV/Å in the "
            f"force components (root mean square error {errors['force_rmse_meV_per_A']:.0f}, of "
            f"the forces themselves {errors['force_rms_meV_per_A']:.0f}) and of "
            f"{errors['pressure_mae_GPa']:.2g} GPa in the pressure."
        )


def _free_energies(found: History) -> Iterator[str]:
    """Sentences on free energies of the campaign's present models."""
    for one in found.free_energies:
        for system, free in one.items():
            if free.get("outdated"):
                continue
            over = " and ".join(str(variable["name"]) for variable in free["variables"])
            yield (
                f"The free energy of {system} along {over} at {free['temperature_K']:g} K was "
                f"computed with the fixed model of generation {free['generation']} and a new "
                f"metadynamics bias, from {free['walkers']} walkers of "
                f"{free['ps_per_walker']:.3g} ps, by reweighting with the time-dependent bias "
                f"[@tiwary2015]; its errors are from block analysis.{_against(free)}"
            )


def _against(free: Mapping[str, Any]) -> str:
    """Comparison with the reference, for the paragraph; empty if there is none."""
    stored = free.get("against_reference")
    if not stored:
        return ""
    return (
        f" {stored['frames']} of its frames, evenly spread along the variable, were labelled by "
        f"the reference: {stored['verdict']}."
    )
