"""Labels, their levels of theory and their files."""

from . import conventions, extxyz, label_cache, label_energies, label_values, levels
from .extxyz import to_training
from .label import (
    FrameJson,
    Label,
    check,
    content_hash,
    content_key,
    frame_from_json,
    frame_to_json,
    from_json,
    label_key,
    same_level,
    split,
    to_json,
)
from .levels import Level

__all__ = [
    "FrameJson",
    "Label",
    "Level",
    "check",
    "content_hash",
    "content_key",
    "conventions",
    "extxyz",
    "frame_from_json",
    "frame_to_json",
    "from_json",
    "label_cache",
    "label_energies",
    "label_key",
    "label_values",
    "levels",
    "same_level",
    "split",
    "to_json",
    "to_training",
]
