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
            "at": round(time.time(), 3),
            **numbers,
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


class WarmStart(lightning.Callback):
    """Takes over the weights of an earlier checkpoint of the same architecture.

    Only numbers are taken, so that the new checkpoint never needs the old one.
    """

    def __init__(self, path: str) -> None:
        """Read the checkpoint at `path`."""
        self.path = path

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Load the averaged weights (those that were deployed) into the model and its average."""
        state = torch.load(self.path, map_location="cpu", weights_only=True)["state_dict"]
        model = pl_module.model
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        )
        with torch.no_grad():
            for index, weight in enumerate(model.parameters()):
                weight.copy_(state[f"ema.ema_weight_{index}"])
        pl_module.ema.num_updates = 0  # the next update is a plain copy
        pl_module.ema.update_parameters(model)


class Export(lightning.Callback):
    """Writes, when the training is over, what proves and deploys it without another start.

    `weights`: the averaged weights and the hash of all else that the graph is made of (`swap`);
    `results`: what the eager model says of the frames in `frames` (`gate`).
    """

    def __init__(self, weights: str, frames: str, results: str) -> None:
        """Name the files."""
        self.weights, self.frames, self.results = Path(weights), Path(frames), Path(results)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Write both."""
        import numpy as np

        from .deployment import weights_of
        from .eager import evaluate
        from .labels import frame_from_json
        from .recipes import graph_of

        pl_module.ema.swap_parameters(pl_module.model)
        try:
            (model,) = pl_module.model.values()
            graph = graph_of(pl_module.hparams["model"])
            np.savez(self.weights, graph=graph, **weights_of(model))
            frames = [
                frame_from_json(frame)
                for frame in json.loads(self.frames.read_text(encoding="utf-8"))
            ]
            self.results.write_text(json.dumps(evaluate(model, frames)), encoding="utf-8")
        finally:
            pl_module.ema.swap_parameters(pl_module.model)


if __name__ == "__main__":
    from nequip.scripts.train import main

    main()
