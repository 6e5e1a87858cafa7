"""Deploy: from a checkpoint to a model that LAMMPS runs, in the mode that pays."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import models
from .engines import Engines, which
from .jobs import Finished, Job
from .store import file_hash, hash_of
from .tasks import Outputs, Task, Work

FINAL = "final"
COMPILE_S = 60.0
"""First guess of an AOTInductor compilation; replaced by the first one that is measured."""
SPEEDUP = 2.0
"""First guess of TorchScript's cost over AOTInductor's; replaced likewise."""


@dataclass(frozen=True)
class Generation:
    """A trained and deployed model.

    Attributes:
        number: 0 from the bootstrap, r from round r.
        name: "0", "1", … or "final".
        checkpoint: to train on from.
        deployed: the artefact that walkers use.
        device: that it was compiled for.
        checkpoint_hash: of its content.
    """

    number: int
    name: str
    checkpoint: Path
    deployed: Path
    device: str
    checkpoint_hash: str


def folder(name: str) -> str:
    """Where a generation's files are, below the campaign's directory."""
    return f"models/gen-{int(name):03d}" if name != FINAL else f"models/{FINAL}"


def deploy(
    work: Work, number: int, name: str, checkpoint: Path, checkpoint_hash: str
) -> Generation:
    """Compile in the configured mode; `auto` compiles what lets the next segment end earlier."""
    title = f"deploy generation {name}"
    inputs = hash_of("deploy", checkpoint_hash)
    record = work.store.done(title, inputs)
    if record is not None:
        made = record.outputs
    else:
        wanted = work.campaign.settings.deploy.mode
        mode, why = (wanted, "as configured") if wanted != "auto" else choose_mode(work, name)
        work.observer.begin(number, title, 1, "models")
        work.observer.say(f"generation {name}: {mode} ({why})")
        task = _compilation(work, number, name, checkpoint, mode=mode, inputs=inputs, why=why)
        (made,) = work.do([task])
    return Generation(
        number=number,
        name=name,
        checkpoint=checkpoint,
        deployed=work.store.root / made["file"],
        device=made["stamp"]["device"],
        checkpoint_hash=checkpoint_hash,
    )


def _compilation(
    work: Work, number: int, name: str, checkpoint: Path, *, mode: str, inputs: str, why: str
) -> Task:
    """The task that compiles a checkpoint."""

    def job(directory: Path) -> Job:
        return models.deploy_job(
            f"deploy generation {name}",
            checkpoint,
            mode=mode,
            device=work.campaign.settings.deploy.device,
            directory=directory,
            cores=work.campaign.cores if mode == "aotinductor" else 1,
        )

    def read(finished: Finished) -> Outputs:
        stamp = models.read_deployment(finished)
        content = (finished.directory / stamp.file).read_bytes()
        place = f"{folder(name)}/{stamp.mode}-{stamp.device}"
        kept = work.store.write(f"{place}/{stamp.file}", content)
        work.store.write(f"{place}/stamp.json", models.stamp_text(stamp).encode())
        return {
            "generation": name,
            "file": str(kept.relative_to(work.store.root)),
            "sha256": file_hash(kept),
            "mode": mode,
            "why": why,
            "stamp": asdict(stamp),
        }

    return Task(
        name=f"deploy generation {name}",
        stage="deploy",
        round=number,
        inputs=inputs,
        place=f"rounds/{number:03d}/deploy{'-final' if name == FINAL else ''}-{mode}",
        job=job,
        read=read,
    )


def engines_for(work: Work, generation: Generation) -> Engines:
    """The engines as a generation's model needs them: one compiled for the CPU sees no GPU."""
    if generation.device != "cpu":
        return work.engines
    return replace(work.engines, env={**work.engines.env, "CUDA_VISIBLE_DEVICES": ""})


def choose_mode(work: Work, name: str) -> tuple[str, str]:
    """The mode with which the next segment is estimated to end earlier, and the estimate."""
    settings = work.campaign.settings
    if name == FINAL or int(name) >= settings.rounds:
        return "torchscript", "no segment follows; `phasewalk deploy` makes the other kind"
    if which("c++") is None:
        return "torchscript", "aotinductor needs a C++ compiler, and there is none"
    steps = settings.segment.steps
    share = max(1.0, work.campaign.walkers / work.campaign.cores)
    compile_s, step_s = _measured(work)
    script = step_s.get("torchscript") or SPEEDUP * step_s.get("aotinductor", 0.0)
    if not script:
        return "torchscript", "nothing measured yet; it compiles in seconds"
    inductor = step_s.get("aotinductor") or script / SPEEDUP
    total = {
        "torchscript": compile_s.get("torchscript", 10.0) + steps * share * script,
        "aotinductor": compile_s.get("aotinductor", COMPILE_S) + steps * share * inductor,
    }
    shown = ", ".join(f"{mode} {seconds:.0f} s" for mode, seconds in total.items())
    return min(total, key=lambda mode: total[mode]), f"compiling plus the next segment: {shown}"


def _measured(work: Work) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a compilation, and of a step, by mode, from what the journal holds."""
    compile_s: dict[str, float] = {}
    step_s: dict[str, float] = {}
    mode_of: dict[str, str] = {}
    for record in work.store.records():
        if record.stage == "deploy":
            compile_s[record.outputs["mode"]] = record.seconds
            mode_of[record.outputs["generation"]] = record.outputs["mode"]
        elif record.stage == "evaluate" and record.outputs["generation"] in mode_of:
            step_s[mode_of[record.outputs["generation"]]] = record.outputs["seconds_per_step"]
    return compile_s, step_s
