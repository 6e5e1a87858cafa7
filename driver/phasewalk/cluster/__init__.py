"""Clusters: the site file, and jobs on Slurm."""

from .site import KIND_OF, PlaceSettings, SiteSettings

__all__ = ["KIND_OF", "PlaceSettings", "SiteSettings"]
