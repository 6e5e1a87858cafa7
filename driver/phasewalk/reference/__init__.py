"""The reference program: its settings, input for one frame, and output."""

from . import cp2k_input, programs, requests
from .programs import COMMAND, Reference
from .requests import WAVE_FUNCTIONS, Result, Try
from .settings import ReferenceSettings

__all__ = [
    "COMMAND",
    "WAVE_FUNCTIONS",
    "Reference",
    "ReferenceSettings",
    "Result",
    "Try",
    "cp2k_input",
    "programs",
    "requests",
]
