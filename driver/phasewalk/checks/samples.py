"""One job of each kind of work of a campaign, without its files: what a site is asked for."""

from pathlib import Path

from .. import models, validation, walkers
from ..campaign import Campaign
from ..engines import Engines
from ..generations import compile
from ..jobs import Job
from ..walkers import division
from . import trial


def jobs(
    campaign: Campaign, engines: Engines, folder: Path, *, most: int | None = None
) -> list[Job]:
    """A label, a segment, a training, a compilation and an evaluation.

    Args:
        campaign: the campaign.
        engines: where its programs are.
        folder: of the directories in which they would run; none is made.
        most: maximum number of walkers of one launch; None: no limit.
    """
    settings = campaign.settings
    count, ranks = division.largest(settings.systems, most), settings.resources.ranks_per_walker
    mode = "torchscript" if settings.deploy.mode == "torchscript" else "aotinductor"
    model = folder / f"model{models.ENDINGS[mode]}"
    labels = [trial.sample(campaign, folder / "label")] if campaign.reference.command else []
    return [
        *labels,
        walkers.launch("segment", count, engines, folder / "segment", ranks=ranks),
        models.training_launch("train", settings.model, folder / "train"),
        models.deploy_job(
            "compile",
            None,
            inputs={},
            mode=mode,
            device=settings.deploy.device,
            directory=folder / "compile",
            cores=compile.MOST_CORES if mode == "aotinductor" else 1,
        ),
        validation.accuracy.job(
            "evaluate", model, frames=[], directory=folder / "evaluate", env=dict(engines.env)
        ),
    ]
