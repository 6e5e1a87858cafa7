"""What there is where a production run is to run."""

from dataclasses import dataclass

from . import memory


@dataclass(frozen=True)
class Room:
    """Cores, memory and GPUs for all walkers; None for what is not known.

    Attributes:
        cores: number of cores.
        memory_GB: memory.
        of: which memory that is.
        gpus: number of GPUs.
    """

    cores: int | None = None
    memory_GB: float | None = None
    of: str = "are free"
    gpus: int | None = None

    @classmethod
    def here(cls, cores: int | None, gpus: int | None = None) -> "Room":
        """So many cores and GPUs of this machine, and its memory."""
        return cls(cores, memory.free(), gpus=gpus)


UNKNOWN = Room()
