"""The report: figures, page, notebook; never writes to the campaign's record."""

from . import chemiscope, methods
from .notebook import Campaign
from .page import REPORT, answer, write, write_figures

__all__ = ["REPORT", "Campaign", "answer", "chemiscope", "methods", "write", "write_figures"]
