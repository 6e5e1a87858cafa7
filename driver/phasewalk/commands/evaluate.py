"""`phasewalk evaluate`: errors of a deployed model on labelled frames."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..jobs import run
from . import site as sites
from . import terminal
from .site import Site

if TYPE_CHECKING:
    from ..engines import EngineSettings

out, err = terminal.stdout(), terminal.stderr()


def evaluate(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|MODEL", help="Campaign directory, or a deployed model.")
    ],
    data: Annotated[Path, typer.Option("--data", help="Labelled frames (extxyz).")],
    generation: Annotated[
        str | None, typer.Option(help="Generation of the campaign; default: the last one.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the programs that the directory's settings name.")
    ] = False,
    site: Site = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the errors of a deployed model on labelled frames, in LAMMPS.

    For a campaign's model it also prints how many of the frames are its own training labels, on
    which errors do not measure predictions.
    """
    from .. import engines as finding
    from .. import scratch, status
    from ..checks import assess
    from ..engines import plugin
    from ..validation import accuracy

    frames = accuracy.read_labelled(data)
    model = assess.model_of(target, generation)
    assess.check_species(model, [label.atoms for label in frames], str(data))
    launcher = sites.choose(site, target, cores=None, folder=Path(), leaves=False)
    engines = finding.find(_engines(target, trusted=trust), os.environ)
    engines = plugin.ensure(finding.with_machine(engines, launcher), launcher, os.environ)
    with (
        scratch.folder("evaluate", within=launcher.scratch, keep_failed=True) as folder,
        err.status("evaluating in LAMMPS …"),
    ):
        job = accuracy.job(
            "evaluate",
            model,
            frames=[label.atoms for label in frames],
            directory=folder / "lammps",
            env=dict(engines.env),
        )
        found = accuracy.errors(frames, accuracy.read(run(launcher, job)).frames)
    learned = assess.learned(model, frames)
    if as_json:
        errors = assess.with_learned(found.as_dict(), learned)
        print(json.dumps({"model": str(model), "data": str(data), **errors}, indent=1))
        return
    status.show_errors(str(model), found.as_dict(), out)
    if learned is not None and learned.says:
        out.print(Text(learned.says, style="bold"), soft_wrap=True)


def _engines(target: Path, *, trusted: bool) -> "EngineSettings":
    """The engines of a campaign's settings that may be used; the default for anything else."""
    from .. import store
    from ..campaign import config
    from ..engines import EngineSettings
    from ..rounds import reopen

    if not target.is_dir():
        return EngineSettings()
    text, path = store.settings_text(target)
    kept, notice = reopen.own_side(config.parse(text, path), path, trusted=trusted)
    if notice:
        err.print(Text(notice), soft_wrap=True)
    return kept.engines
