"""Generations: from labels to a trained, deployed, proved and evaluated model."""

from . import compile, learn, refit
from .deploy import Generation, folder

__all__ = ["Generation", "compile", "folder", "learn", "refit"]
