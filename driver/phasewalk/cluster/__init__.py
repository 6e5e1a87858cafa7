"""Clusters: the site file, and jobs on Slurm."""

from . import launching, needs, sharing, site_reference, slurm, words
from .finding import find_file, find_site, places
from .needs import Need
from .site import KIND_OF, OF_CAMPAIGNS, Kind, PlaceSettings, SiteSettings
from .slurm import NotNow

__all__ = [
    "KIND_OF",
    "OF_CAMPAIGNS",
    "Kind",
    "Need",
    "NotNow",
    "PlaceSettings",
    "SiteSettings",
    "find_file",
    "find_site",
    "launching",
    "needs",
    "places",
    "sharing",
    "site_reference",
    "slurm",
    "words",
]
