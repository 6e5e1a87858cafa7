"""Checks: what is tried before a run, and of a single model by hand."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import assess, check, deployment, prove, rendering, trial

__all__ = ["assess", "check", "deployment", "prove", "rendering", "trial"]

__getattr__ = lazy(
    __name__,
    {
        "assess": (),
        "check": (),
        "deployment": (),
        "prove": (),
        "rendering": (),
        "trial": (),
    },
)
