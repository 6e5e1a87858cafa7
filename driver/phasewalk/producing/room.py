"""What there is where a production run is to run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """Cores, GPUs and memory of all walkers; None for what is not known.

    Attributes:
        cores: number of cores.
        gpus: number of GPUs.
        memory_GB: memory.
        of: which memory that is.
    """

    cores: int | None = None
    gpus: int | None = None
    memory_GB: float | None = None
    of: str = "are free"


UNKNOWN = Room()
