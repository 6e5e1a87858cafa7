"""The reference: the program that makes labels, what it is asked and what it answers."""

from . import cp2k_input, programs, requests
from .programs import COMMAND, Reference
from .requests import Result, Try, WAVE_FUNCTIONS
from .settings import ReferenceSettings

__all__ = [
    "COMMAND",
    "Reference",
    "ReferenceSettings",
    "Result",
    "Try",
    "WAVE_FUNCTIONS",
    "cp2k_input",
    "programs",
    "requests",
]
