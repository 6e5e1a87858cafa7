"""A site before a run: what short jobs see in its places, and what is to be mended."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import findings, probe

__all__ = ["findings", "probe"]

__getattr__ = lazy(__name__, {"findings": (), "probe": ()})
