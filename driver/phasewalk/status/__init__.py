"""Status and history of a campaign, read from its directory, which is never written to."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import deployed, history, intact, library, progress, verdict, verifying
    from .compared import Compared
    from .history import History
    from .progress import Progress
    from .summary import collect, deployed_model, show, show_errors
    from .traces import Trace

__all__ = [
    "Compared",
    "History",
    "Progress",
    "Trace",
    "collect",
    "deployed",
    "deployed_model",
    "history",
    "intact",
    "library",
    "progress",
    "show",
    "show_errors",
    "verdict",
    "verifying",
]

__getattr__ = lazy(
    __name__,
    {
        "compared": ("Compared",),
        "deployed": (),
        "history": ("History",),
        "intact": (),
        "library": (),
        "progress": ("Progress",),
        "verdict": (),
        "verifying": (),
        "summary": ("collect", "deployed_model", "show", "show_errors"),
        "traces": ("Trace",),
    },
)
