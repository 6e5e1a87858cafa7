"""Clusters: the site file, and jobs on Slurm."""

from . import launching, needs, site_reference, words
from .finding import find_site
from .site import KIND_OF, PlaceSettings, SiteSettings

__all__ = [
    "KIND_OF",
    "PlaceSettings",
    "SiteSettings",
    "find_site",
    "launching",
    "needs",
    "site_reference",
    "words",
]
