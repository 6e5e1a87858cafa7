"""Checks: what is tried before a run, and of a single model by hand."""

from . import assess, check, deployment, prove, rendering, trial

__all__ = ["assess", "check", "deployment", "prove", "rendering", "trial"]
