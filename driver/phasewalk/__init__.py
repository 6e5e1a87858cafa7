"""Learn a machine-learning potential while it explores phase space."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Campaign

__all__ = ["Campaign"]


def __getattr__(name: str) -> Any:
    """`Campaign`, once it is asked for: the children that LAMMPS and training run in stay light."""
    if name == "Campaign":
        from .report import Campaign

        return Campaign
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
