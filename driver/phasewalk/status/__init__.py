"""Status: what a campaign directory tells; never writes to it."""

from . import history, library, progress, verdict, verifying
from .history import Compared, History
from .progress import Progress
from .summary import collect, deployed_model, show, show_errors
from .traces import Trace

__all__ = [
    "Compared",
    "History",
    "Progress",
    "Trace",
    "collect",
    "deployed_model",
    "history",
    "library",
    "progress",
    "show",
    "show_errors",
    "verdict",
    "verifying",
]
