"""Exports: a potential as a folder that is used without phasewalk."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .folder import Exported, export

__all__ = ["Exported", "export"]

__getattr__ = lazy(__name__, {"folder": ("Exported", "export")})
