"""`phasewalk render`: write the files of the first segment, to read and to run by hand."""

import difflib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import engines as finding
from .. import scratch, walkers
from ..campaign import Campaign, guards
from ..engines import plugin
from ..errors import EngineMissing, StoreError
from ..files import write_file
from ..models import name_for_ranks
from ..rounds import walker_id
from ..walkers import SegmentPlan, Walker, volume_limits
from . import plumed_words

MODEL = "model.nequip.pth"
MODEL_FOR_RANKS = name_for_ranks(MODEL)


def render(campaign: Campaign, root: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Write the decks; yields lines on the files, the changed PLUMED text, and how to run them.

    Raises:
        StoreError: the directory is not empty.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise StoreError(f"{root}: exists and is not empty; choose another --dir")
    settings = campaign.settings
    with scratch.folder("render") as folder:  # the model does not exist yet
        for name in (MODEL, MODEL_FOR_RANKS):
            (folder / name).touch()
        written = dict(walkers.files(first_segment(campaign, folder / MODEL)))
    for name, content in written.items():
        write_file(root / name, content)
    ranks = settings.resources.ranks_per_walker
    more = f", and the one for several ranks to {MODEL_FOR_RANKS} there" if ranks > 1 else ""
    yield f"{len(written)} files written to {root}; copy a deployed model to {root / MODEL}{more}"
    for name, system in settings.systems.items():
        if system.plumed:
            ours = written[f"{walker_id(name, 0)}.plumed"].decode()
            shown = plumed_words.numbering(campaign.structures[name])
            yield f"atom numbers of {name} in PLUMED, in the order of its structure file: {shown}"
            yield f"PLUMED text of {name}, compared with that of its first walker:"
            yield from (
                f"  {line}"
                for line in difflib.unified_diff(
                    system.plumed.splitlines(), ours.splitlines(), "yours", "rendered", lineterm=""
                )
            )
    yield "to run it by hand:"
    yield f"  cd {shlex.quote(str(root))}"
    yield from _command(campaign, environ, ranks)


def first_segment(campaign: Campaign, model: Path) -> SegmentPlan:
    """The segment of round 1 with a deployed model, and the one for several ranks beside it."""
    settings = campaign.settings
    ranks = settings.resources.ranks_per_walker
    return SegmentPlan(
        round=1,
        generation=0,
        walkers=tuple(
            Walker(walker_id(name, index), name, index, campaign.structures[name], 0)
            for name, system in settings.systems.items()
            for index in range(system.walkers)
        ),
        systems=settings.systems,
        settings=settings.segment,
        histories={},
        model=model,
        type_names=campaign.types,
        seed=settings.seed,
        volumes_A3={
            name: volume_limits(atoms, settings.candidates)
            for name, atoms in campaign.structures.items()
        },
        plumed_files=campaign.plumed_files,
        device=None if settings.deploy.device == "auto" else settings.deploy.device,
        guards=guards.of(campaign),
        ranks=ranks,
        for_ranks=model.with_name(MODEL_FOR_RANKS) if ranks > 1 else None,
    )


def _command(campaign: Campaign, environ: Mapping[str, str], ranks: int) -> Iterator[str]:
    try:
        engines = finding.find(campaign.settings.engines, environ)
    except EngineMissing as error:
        yield f"  (engines: {error})"
        return
    library = engines.plugin or plugin.cached(engines, environ)
    env = dict(engines.env)
    if library is not None:
        env["LAMMPS_PLUGIN_PATH"] = str(library.parent)
    else:
        yield "  (first: phasewalk build-plugin)"
    for name, value in env.items():
        yield f"  export {name}={shlex.quote(value)}"
    count = campaign.walkers
    argv = (*engines.mpiexec, "-n", str(count * ranks), str(engines.lmp))
    partition = ("-partition", f"{count}x{ranks}", "-in", walkers.SEGMENT)
    yield f"  {shlex.join((*argv, *partition))}"
