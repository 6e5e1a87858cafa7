"""What the labels of a generation of a campaign cover."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..bias import colvars, plumed, quantities
from ..errors import InputError
from ..labels import Label
from ..production import lineage
from ..status import history, library, verdict
from ..store import HeldOut, Record, Trained, each, read_campaign
from .trained import Trained as Covered
from .trained import learn


def of_campaign(
    root: Path,
    generation: str,
    elements: Sequence[str],
    cutoff_A: float,
    *,
    atoms: int,
    plumed_text: str | None,
) -> Covered:
    """What a generation was trained on, and the ranges of variables in the campaign.

    A variable is compared if the campaign has one of the same name and definition. In a cell with
    another number of atoms only VOLUME is, in proportion to that number.

    Args:
        root: campaign directory.
        generation: its name.
        elements: of the model.
        cutoff_A: of the model, Å.
        atoms: number of atoms of the run.
        plumed_text: its PLUMED input.

    Raises:
        InputError: it has fewer than two labels.
    """
    store = read_campaign(root)
    known, _ = library.campaign_labels(root, store)
    learned = _learned(known, store.records(), generation)
    model = lineage.models(store.records())[generation]
    return learn(
        [label.atoms for label in learned],
        [label.forces for label in learned],
        elements,
        cutoff_A,
        variables=_ranges(root, learned, atoms, plumed_text) if plumed_text else {},
        about={
            "campaign": str(root),
            "generation": generation,
            "labels": len(learned),
            "checkpoint": model.checkpoint,
        },
    )


def _learned(known: Sequence[Label], records: Sequence[Record], generation: str) -> list[Label]:
    """The labels that were there when a generation was trained, without those held out."""
    ends = [n for n, record in enumerate(records) if _trains(record, generation)]
    if not ends:
        raise InputError(f"generation {generation}: the campaign has no such training")
    before = records[: ends[-1]]
    held = {one.key for _, out in each(before, HeldOut) for one in out.labels}
    there = set(library.label_keys(before)) - held
    return [label for label in known if label.key in there]


def _trains(record: Record, generation: str) -> bool:
    return isinstance(record.made, Trained) and record.made.generation == generation


def _ranges(
    root: Path, learned: Iterable[Label], atoms: int, text: str
) -> dict[str, tuple[float, float]]:
    """Ranges of the variables of a PLUMED text, over all systems that have them."""
    found = history.read(root)
    sizes: dict[str, int] = {str(label.origin.get("system")): len(label.atoms) for label in learned}
    here, ranges = _definitions(text), dict[str, tuple[float, float]]()
    for (system, name), (low, high) in verdict.ranges(found).items():
        own = found.settings.systems.get(system) if found.settings else None
        label = name.partition(".")[0]
        same = here.get(label, "") == _definitions(own.plumed if own else None).get(label)
        if not same or system not in sizes:
            continue
        times = atoms / sizes[system]
        if times != 1.0 and not here[label].startswith("VOLUME"):
            continue
        before = ranges.get(name, (low * times, high * times))
        ranges[name] = (min(before[0], low * times), max(before[1], high * times))
    return ranges


def _definitions(text: str | None) -> Mapping[str, str]:
    """Label → the action with the definitions of its arguments, and its unit."""
    units, found = quantities.units(text), dict[str, str]()
    for action in plumed.parse(text or ""):
        if action.label:
            of = [found.get(name.partition(".")[0], name) for name in colvars.arguments(action)]
            words = sorted(word.text for word in action.words if word.key != "LABEL")
            unit = units.get(action.label, "")
            found[action.label] = " ".join([action.name, *words, f"[{unit}]", *of])
    return found
