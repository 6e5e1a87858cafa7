"""The command line: the only room that picks a launcher."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import cli

__all__ = ["cli"]

__getattr__ = lazy(__name__, {"cli": ()})
