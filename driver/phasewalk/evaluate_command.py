"""`phasewalk evaluate`: a deployed model against labelled frames."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from . import assessing, config, evaluation, plugin, status, store, terminal
from . import engines as finding
from .engines import EngineSettings
from .jobs import run
from .launch import LocalLauncher

out, err = terminal.stdout(), terminal.stderr()


def evaluate(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|MODEL", help="Campaign directory, or a deployed model.")
    ],
    data: Annotated[Path, typer.Option("--data", help="Labelled frames (extxyz).")],
    generation: Annotated[
        str | None, typer.Option(help="Generation of the campaign; default: the last one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a deployed model, in LAMMPS, against labelled frames.

    It says how many of the frames a campaign's model has learned from: errors on these are none of
    its predictions.
    """
    frames = evaluation.read_labelled(data)
    model = assessing.model_of(target, generation)
    assessing.check_species(model, [label.atoms for label in frames], str(data))
    launcher = LocalLauncher()
    settings = EngineSettings()
    if target.is_dir():
        settings = config.parse(*store.settings_text(target)).engines
    engines = plugin.ensure(finding.find(settings, os.environ), launcher, os.environ)
    folder = Path(tempfile.mkdtemp(prefix="phasewalk-evaluate-"))  # kept if this fails
    with err.status("evaluating in LAMMPS …"):
        job = evaluation.job(
            "evaluate",
            model,
            frames=[label.atoms for label in frames],
            directory=folder / "lammps",
            env=dict(engines.env),
        )
        found = evaluation.errors(frames, evaluation.read(run(launcher, job)).frames)
    shutil.rmtree(folder)
    learned = assessing.learned(model, frames)
    if as_json:
        told = assessing.with_learned(found.as_dict(), learned)
        print(json.dumps({"model": str(model), "data": str(data), **told}, indent=1))
        return
    status.show_errors(str(model), found.as_dict(), out)
    if learned is not None and learned.says:
        out.print(Text(learned.says, style="bold"), soft_wrap=True)
