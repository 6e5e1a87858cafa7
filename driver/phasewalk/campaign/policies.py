"""The limits on errors that reset a walker, in campaigns of this and of earlier versions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..store import Segment, Store, segment_task

if TYPE_CHECKING:
    from .inputs import Campaign

KEY = "limits"
"""Key in a segment's record: the limits that its walkers' new frames are judged by."""
ADDED = ("max_energy_error_meV_per_atom",)
"""Limits that earlier versions did not have."""


def as_begun(campaign: "Campaign", store: Store) -> "Campaign":
    """The campaign; without the limits that it was started without and does not request."""
    if not store.find(segment_task(1)) or limits(store, 1) is not None:
        return campaign
    policy = campaign.settings.policy
    off = {name: None for name in ADDED if name not in policy.model_fields_set}
    policy = policy.model_copy(update=off)
    settings = campaign.settings.model_copy(update={"policy": policy})
    return replace(campaign, settings=settings)


def limits(store: Store, round_: int) -> Mapping[str, float | None] | None:
    """The limits recorded for a round; None if it is of an earlier version, or not finished."""
    segment = store.find(segment_task(round_))
    made = None if segment is None else segment.made  # of a free energy, `segment 0` only begins
    return made.limits if isinstance(made, Segment) else None
