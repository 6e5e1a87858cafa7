"""Compute the collective variables of labelled frames with PLUMED."""

from collections.abc import Sequence

from ..bias import colvars
from ..campaign import Outputs, Task, Work
from ..errors import InputError
from ..files import hash_of
from ..jobs import Finished
from ..labels import Label, content_hash
from ..store import LOCATED, colvars_task, failures
from ..structures import carried


def tasks(work: Work, round_: int, labels: Sequence[Label], *, test: bool = False) -> list[Task]:
    """One task per system with METAD, which computes the variables of its frames.

    A frame belongs to a system if it has the same elements in the same order, because PLUMED
    refers to atom numbers. Initial data and test sets may contain other frames.
    """
    found = []
    for name, system in work.campaign.settings.systems.items():
        symbols = list(work.campaign.structures[name].symbols)
        mine = {
            label.key or content_hash(label): label
            for label in labels
            if list(label.atoms.symbols) == symbols and label.origin.get("system", name) == name
        }
        if mine and _names(system.plumed):
            found.append(_task(work, name, round_, mine, test=test))
    return found


def _names(text: str | None) -> tuple[str, ...]:
    """The biased variables of a PLUMED input; none if a single frame does not determine them."""
    try:
        return colvars.variables(text)[0] if text else ()
    except InputError:
        return ()


def _task(work: Work, system: str, round_: int, mine: dict[str, Label], *, test: bool) -> Task:
    text = work.campaign.settings.systems[system].plumed or ""
    name, structure = (
        colvars_task(system, None if test else round_),
        work.campaign.structures[system],
    )

    def read(finished: Finished) -> Outputs:
        found = colvars.read(finished)
        values = dict(zip(mine, found.values.tolist(), strict=True))
        return {"system": system, "names": list(found.names), "values": values, "test": test}

    return Task(
        name=name,
        stage=LOCATED,
        round=round_,
        inputs=hash_of("colvars", colvars.variables(text), list(mine)),
        place=f"rounds/{round_:03d}/colvars-{system}{'-test' if test else ''}",
        job=lambda directory: colvars.job(
            name,
            text,
            # labels have no masses, but a center of mass depends on them
            frames=[carried.like(label.atoms, structure) for label in mine.values()],
            directory=directory,
            env=dict(work.engines.env),
            files=work.campaign.plumed_files,
        ),
        read=read,
        may_fail=True,  # needed only for figures and a stop rule
        again=True,
    )


def say_failures(work: Work, round_: int) -> None:
    """Print which variables are not known, and why."""
    for record, failure in failures(work.store.records(), LOCATED):
        if record.round == round_:
            work.observer.say(f"{record.task} are not known: {failure.reason}")
