"""Sign, unit and order of imported labels, tried against each other."""

from collections.abc import Sequence

from .labels import Label


def check(labels: Sequence[Label], where: str) -> str:
    """What was found of the labels' conventions; InputError where they contradict."""
    return ""
