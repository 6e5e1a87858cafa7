"""Labelling: compute labels of frames, each once."""

from . import initial, isolated_atoms, late, locate
from .bootstrap import Frame, bootstrap_frames
from .label import (
    label_ahead,
    label_bootstrap,
    label_frames,
    label_late,
    label_proposals,
    start_late,
)
from .packed import pack_labels

__all__ = [
    "Frame",
    "bootstrap_frames",
    "initial",
    "isolated_atoms",
    "label_ahead",
    "label_bootstrap",
    "label_frames",
    "label_late",
    "label_proposals",
    "late",
    "locate",
    "pack_labels",
    "start_late",
]
