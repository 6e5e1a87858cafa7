"""Generations: from labels to a trained, deployed, proved and evaluated model."""

from . import compile, learn, refit
from .deploy import FINAL, Generation, engines_for, folder

__all__ = ["FINAL", "Generation", "compile", "engines_for", "folder", "learn", "refit"]
