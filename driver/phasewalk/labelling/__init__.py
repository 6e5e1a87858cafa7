"""Labelling: from frames to labels, each computed once."""

from . import initial, isolated_atoms, locate
from .label import Frame, bootstrap_frames, label_bootstrap, label_proposals

__all__ = [
    "Frame",
    "bootstrap_frames",
    "initial",
    "isolated_atoms",
    "label_bootstrap",
    "label_proposals",
    "locate",
]
