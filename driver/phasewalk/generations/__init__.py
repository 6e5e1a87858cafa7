"""Generations: train, deploy, validate and evaluate models."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import compile, evaluate, forms, inputs, known, late_judged, learn, ranks, refit, worse
    from .deploy import Generation, folder

__all__ = [
    "Generation",
    "compile",
    "evaluate",
    "folder",
    "forms",
    "inputs",
    "known",
    "late_judged",
    "learn",
    "ranks",
    "refit",
    "worse",
]

__getattr__ = lazy(
    __name__,
    {
        "compile": (),
        "evaluate": (),
        "forms": (),
        "inputs": (),
        "known": (),
        "late_judged": (),
        "learn": (),
        "ranks": (),
        "refit": (),
        "worse": (),
        "deploy": ("Generation", "folder"),
    },
)
