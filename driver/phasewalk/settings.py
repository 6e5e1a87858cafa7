"""The base of all settings: immutable, typed, and without unknown keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings. Every field describes itself; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
