"""Batch jobs: work in the queue of a cluster, which goes on without phasewalk."""

from ..cluster import NotNow
from . import driver, dry, scripts
from .asking import SystemClock
from .batches import cancel_all
from .launcher import JobsLauncher, jobs_launcher
from .scheduler import QueueFull, Refused, Scheduler, Slurm

__all__ = [
    "JobsLauncher",
    "NotNow",
    "QueueFull",
    "Refused",
    "Scheduler",
    "Slurm",
    "SystemClock",
    "cancel_all",
    "driver",
    "dry",
    "jobs_launcher",
    "scripts",
]
