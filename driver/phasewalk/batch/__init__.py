"""Batch jobs: work in the queue of a cluster, which goes on without phasewalk."""

from . import scripts
from .batches import cancel_all
from .jobs_mode import JobsLauncher, jobs_launcher
from .scheduler import NotNow, QueueFull, Refused, Scheduler, Slurm

__all__ = [
    "JobsLauncher",
    "NotNow",
    "QueueFull",
    "Refused",
    "Scheduler",
    "Slurm",
    "cancel_all",
    "jobs_launcher",
    "scripts",
]
