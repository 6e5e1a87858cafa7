"""What a campaign does on a site: its jobs now, and what they cost, as data and as text."""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from . import site_view
    from .at_site import AtSite, collect

__all__ = ["AtSite", "collect", "site_view"]

__getattr__ = lazy(__name__, {"at_site": ("AtSite", "collect"), "site_view": ()})
