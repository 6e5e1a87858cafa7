"""Checks of a campaign before its run, and of a single model."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import (
        assess,
        check,
        deployment,
        prove,
        rehearsal,
        rendering,
        samples,
        trial,
        untrained,
    )

__all__ = [
    "assess",
    "check",
    "deployment",
    "prove",
    "rehearsal",
    "rendering",
    "samples",
    "trial",
    "untrained",
]

__getattr__ = lazy(
    __name__,
    {
        "assess": (),
        "check": (),
        "deployment": (),
        "prove": (),
        "rehearsal": (),
        "rendering": (),
        "samples": (),
        "trial": (),
        "untrained": (),
    },
)
