"""Generations: from labels to a trained, deployed, proved and evaluated model."""

from . import compile, learn, refit
from .deploy import FINAL, Generation, folder

__all__ = ["FINAL", "Generation", "compile", "folder", "learn", "refit"]
