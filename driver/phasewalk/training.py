"""Child process that trains: nequip-train with two callbacks of ours.

`python -m phasewalk.training -cp DIR -cn config` is `nequip-train -cp DIR -cn config`.
"""

import json
import time
from pathlib import Path
from typing import Any

import lightning
import torch


class Progress(lightning.Callback):
    """Appends one JSON line for each finished epoch."""

    def __init__(self, path: str) -> None:
        """Write to `path`."""
        self.path = Path(path)
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the epoch's validation errors (eV/atom, eV/Å, eV/Å³)."""
        numbers = {
            name.removeprefix("val0_epoch/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val0_epoch/")
        }
        line = {
            "epoch": trainer.current_epoch + 1,
            "epochs": trainer.max_epochs,
            "seconds": round(time.monotonic() - self.started, 2),
            **numbers,
        }
        with self.path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


class WarmStart(lightning.Callback):
    """Takes over the weights of an earlier checkpoint before the first step."""

    def __init__(self, path: str) -> None:
        """Read the checkpoint at `path`."""
        self.path = path

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Load the averaged weights (those that were deployed) into model and average."""
        from nequip.model.saved_models.checkpoint import ModelFromCheckpoint

        previous = ModelFromCheckpoint(self.path)
        pl_module.model.load_state_dict(previous.state_dict())
        ema = getattr(pl_module, "ema", None)
        if ema is not None:
            with torch.no_grad():
                for average, weight in zip(
                    ema.ema_weights, pl_module.model.parameters(), strict=True
                ):
                    average.copy_(weight)


if __name__ == "__main__":
    from nequip.scripts.train import main

    main()
