"""Generations: train, deploy, validate and evaluate models."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import compile, evaluate, learn, refit
    from .deploy import Generation, folder

__all__ = ["Generation", "compile", "evaluate", "folder", "learn", "refit"]

__getattr__ = lazy(
    __name__,
    {
        "compile": (),
        "evaluate": (),
        "learn": (),
        "refit": (),
        "deploy": ("Generation", "folder"),
    },
)
