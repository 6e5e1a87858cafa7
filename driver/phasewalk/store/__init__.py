"""The campaign directory: journal, lock, files, cost."""

from . import ledger
from .directory import (
    IDENTITY,
    JOURNAL,
    MAY_GO,
    PLUMED_FILES,
    REWINDING,
    SETTINGS,
    Store,
    check_kept,
    now,
    open_campaign,
    read_campaign,
    read_identity,
    reopen_campaign,
    settings_text,
)
from .journal import EARLIER, FAILED, KIND, Record
from .ledger import SECONDS_PER_HOUR, Meter
from .locking import locked
from .shapes import journalled

__all__ = [
    "EARLIER",
    "FAILED",
    "IDENTITY",
    "JOURNAL",
    "KIND",
    "MAY_GO",
    "PLUMED_FILES",
    "REWINDING",
    "SECONDS_PER_HOUR",
    "SETTINGS",
    "Meter",
    "Record",
    "Store",
    "check_kept",
    "journalled",
    "ledger",
    "locked",
    "now",
    "open_campaign",
    "read_campaign",
    "read_identity",
    "reopen_campaign",
    "settings_text",
]
