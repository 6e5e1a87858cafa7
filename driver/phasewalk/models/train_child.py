"""Child process that trains: nequip-train with callbacks of ours.

`python -m phasewalk.models.train_child -cp DIR -cn config` is `nequip-train -cp DIR -cn config`.
Where the
directory holds `resume-*.ckpt`, which an earlier try has left, training goes on from there: same
weights, averages, optimizer, schedule and order of frames, so that the result is the same as if
nothing had come between.
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
"""Largest share of the time that may go into keeping checkpoints to continue from."""


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
    """What the epochs before took, where training goes on; 0 else."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return float(json.loads(lines[-1])["seconds"]) if lines else 0.0


class Keep(lightning.Callback):
    """Keeps the state after an epoch, to continue from: whole files only, named by the epoch."""

    def __init__(self) -> None:
        """Beginning with the first epoch."""
        self.due = 0.0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Go on with the order of frames: NequIP reads it from a checkpoint, but too late."""
        data = trainer.datamodule
        data.train_generator.set_state(data.train_generator_state)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Write one, unless that would take too large a share of the time."""
        started = time.monotonic()
        if started < self.due or trainer.current_epoch + 1 >= trainer.max_epochs:
            return
        path = Path(RESUME.format(trainer.current_epoch + 1))
        part = path.with_name(f".{path.name}.part")
        trainer.save_checkpoint(part)
        part.replace(path)  # a power cut may still spoil it: then the one before is taken
        for old in sorted(Path().glob(RESUMES))[:-KEPT]:
            old.unlink()
        ended = time.monotonic()
        self.due = ended + (ended - started) / SHARE


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
    """The newest checkpoint to continue from that can be read; the others are put away.

    Only numbers and plain data are taken from it: a file that holds more is not read.
    """
    for path in sorted(directory.glob(RESUMES), reverse=True):
        try:
            torch.load(path, map_location="cpu", weights_only=True)
            return path
        except (OSError, RuntimeError, ValueError, EOFError, LookupError, UnpicklingError) as error:
            print(f"{path}: cannot be read, and is not continued from: {error}", file=sys.stderr)
            path.unlink()
    return None


def shorten(progress: Path, epochs: int) -> None:
    """Leave the lines of so many epochs: later ones are done again."""
    if progress.is_file():
        lines = progress.read_text(encoding="utf-8").splitlines(keepends=True)
        progress.write_text("".join(lines[:epochs]), encoding="utf-8")


def main() -> None:
    """Train, or train on."""
    from nequip.scripts.train import main as train

    checkpoint = last_whole(Path())
    shorten(Path(PROGRESS), 0 if checkpoint is None else epochs_of(checkpoint))
    if checkpoint is not None:
        sys.argv.append(f"+ckpt_path={checkpoint}")
    train()


if __name__ == "__main__":
    main()
