"""Clusters: the site file, and jobs on Slurm."""

from . import launching, needs, sharing, site_reference, words
from .finding import find_file, find_site, places
from .site import KIND_OF, PlaceSettings, SiteSettings

__all__ = [
    "KIND_OF",
    "PlaceSettings",
    "SiteSettings",
    "find_file",
    "find_site",
    "launching",
    "needs",
    "places",
    "sharing",
    "site_reference",
    "words",
]
