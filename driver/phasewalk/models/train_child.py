"""Child process that trains: nequip-train with additional callbacks.

`python -m phasewalk.models.train_child -cp DIR -cn config` is `nequip-train -cp DIR -cn config`.
If the directory contains `resume-*.ckpt` of an earlier attempt, training continues from it with the
same weights, averages, optimizer, schedule and order of frames, so that the result is the same as
without an interruption.
"""

import json
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch

from .training_config import KEPT, PROGRESS, RESUME, RESUMES, epochs_of

SHARE = 0.05
"""Maximum fraction of the time that may be used to write checkpoints to continue from."""


class Progress(lightning.Callback):
    """Appends one JSON line for each finished epoch."""

    def __init__(self, path: str) -> None:
        """Write to `path`."""
        self.path = Path(path)
        self.started = time.monotonic() - _seconds(self.path)

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


def _seconds(path: Path) -> float:
    """Duration of the epochs of an earlier attempt, s; 0 if there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return float(json.loads(lines[-1])["seconds"]) if lines else 0.0


class Keep(lightning.Callback):
    """Writes checkpoints to continue from, atomically, with the number of epochs in the name."""

    def __init__(self) -> None:
        """Start with the first epoch."""
        self.due = 0.0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Restore the order of frames: NequIP reads it from the checkpoint too late."""
        data = trainer.datamodule
        data.train_generator.set_state(data.train_generator_state)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write a checkpoint, unless that would take more than `SHARE` of the time."""
        started = time.monotonic()
        if started < self.due or trainer.current_epoch + 1 >= trainer.max_epochs:
            return
        path = Path(RESUME.format(trainer.current_epoch + 1))
        part = path.with_name(f".{path.name}.part")
        trainer.save_checkpoint(part)
        part.replace(path)  # a power cut may still damage it; then the previous one is used
        for old in sorted(Path().glob(RESUMES))[:-KEPT]:
            old.unlink()
        ended = time.monotonic()
        self.due = ended + (ended - started) / SHARE


class WarmStart(lightning.Callback):
    """Starts from the weights of an earlier checkpoint of the same architecture.

    Only the numbers are copied, so that the new checkpoint does not depend on the old one.
    """

    def __init__(self, path: str) -> None:
        """Read the checkpoint at `path`."""
        self.path = path

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Copy the averaged weights (those that were deployed) to the model and its average."""
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
    """Writes, at the end of the training, the files that are needed to deploy and prove the model.

    `weights`: the averaged weights and the hash of the graph (for `swap`);
    `results`: predictions of the eager model for the frames in `frames` (for `gate`).
    """

    def __init__(self, weights: str, frames: str, results: str) -> None:
        """Set the names of the files."""
        self.weights, self.frames, self.results = Path(weights), Path(frames), Path(results)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Write both."""
        import numpy as np

        from ..labels import frame_from_json
        from .compile_child import weights_of
        from .eager_child import evaluate
        from .training_config import graph_of

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


def last_whole(directory: Path) -> Path | None:
    """The newest readable checkpoint to continue from; damaged newer ones are deleted.

    A file that contains more than numbers and plain data is not read.
    """
    for path in sorted(directory.glob(RESUMES), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
            return path
        except (OSError, RuntimeError, ValueError, EOFError, LookupError, UnpicklingError) as error:
            print(f"{path}: cannot be read, using an earlier one: {error}", file=sys.stderr)
            path.unlink()
    return None


def shorten(progress: Path, epochs: int) -> None:
    """Keep only the lines of the first `epochs` epochs; later ones are repeated."""
    if progress.is_file():
        lines = progress.read_text(encoding="utf-8").splitlines(keepends=True)
        progress.write_text("".join(lines[:epochs]), encoding="utf-8")


def main() -> None:
    """Train, continuing from a checkpoint if there is one."""
    from nequip.scripts.train import main as train

    checkpoint = last_whole(Path())
    shorten(Path(PROGRESS), 0 if checkpoint is None else epochs_of(checkpoint))
    if checkpoint is not None:
        sys.argv.append(f"+ckpt_path={checkpoint}")
    train()


if __name__ == "__main__":
    main()
