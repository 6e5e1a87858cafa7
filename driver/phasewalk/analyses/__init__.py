"""Analyses: what a production run says about the material, with errors."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .analysis import FOLDER, Analysis, Row, analyse, write
    from .runs import find

__all__ = ["FOLDER", "Analysis", "Row", "analyse", "find", "write"]

__getattr__ = lazy(
    __name__,
    {
        "analysis": ("FOLDER", "Analysis", "Row", "analyse", "write"),
        "runs": ("find",),
    },
)
