"""The report: figures, page and notebook. It never writes the campaign's records."""

from . import chemiscope, methods, pictures
from .notebook import Campaign
from .page import REPORT, answer, write, write_figures

__all__ = [
    "REPORT",
    "Campaign",
    "answer",
    "chemiscope",
    "methods",
    "pictures",
    "write",
    "write_figures",
]
