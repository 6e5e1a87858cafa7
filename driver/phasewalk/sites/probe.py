"""The probe of a place of a site: one short job, of the size of a real one, that looks around."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ase import Atoms

from .. import files
from ..campaign import Campaign
from ..checks import rehearsal, untrained
from ..engines import Engines, Machine
from ..errors import EngineFailed, ParseError
from ..jobs import Finished, Job, Launcher, Queued, Started
from ..labels import frame_to_json
from ..models import ENDINGS, NETWORK, TRUST, Deployed, read_stamp
from ..structures import bare
from ..validation import Probes, Proof, accuracy
from .probe_child import ANSWER, PROBE, RANK

CHILD = Path(__file__).with_name("probe_child.py")
REQUEST = "probe-request.json"
MODEL = "model"
"""Folder of the tiny model, in the directory of a probe."""
LIMIT_S = 900.0
STEP_S = 300.0
WITH_MODEL = ("segment", "train", "compile", "evaluate")
WITH_DEVICE = ("segment", "compile", "evaluate")
"""Kinds whose models are for the device of the campaign file."""
WITH_LAMMPS = ("segment", "evaluate")
STEPS = ("in Python", "compilation", "in LAMMPS")
"""Names of the steps that prove the tiny model."""


@dataclass(frozen=True)
class Asked:
    """What is asked at one place.

    Attributes:
        kinds: kinds of work in the site file whose settings are the same, so that one job serves.
        job: a real job of one of them, the largest.
        gpus: number of GPUs that it is given on each node.
    """

    kinds: tuple[str, ...]
    job: Job
    gpus: int

    @property
    def name(self) -> str:
        """The kinds in words."""
        return ", ".join(self.kinds)

    def is_for(self, *kinds: str) -> bool:
        """Whether it serves one of these kinds."""
        return bool(set(kinds) & set(self.kinds))


@dataclass(frozen=True)
class Place:
    """What one rank sees; see `probe_child.place`."""

    host: str
    node: str
    cores: list[str]
    given: int | None
    gpus: list[str]
    gpu_names: list[str]

    @property
    def name(self) -> str:
        """Name of the node: Slurm's, or the host's."""
        return self.node or self.host


@dataclass(frozen=True)
class Step:
    """How one program of a probe has ended."""

    name: str
    code: int
    said: str
    seconds: float


@dataclass(frozen=True)
class _Written:
    """What `probe_child` writes."""

    started: float
    machine: Machine
    place: Place
    missing: list[str]
    file_ms: float
    seen_s: float | None
    clock_s: float | None
    steps: list[Step]


@dataclass(frozen=True)
class Answer:
    """What a probe has found.

    Attributes:
        asked: what was asked.
        started: when it started, by its own clock, seconds since 1970.
        machine: the machine of the first rank.
        places: what each rank sees.
        missing: files and programs that are not there.
        file_ms: time to make a small file, ms.
        seen_s: time until a file is seen here and the answer there, s; None: it was not seen.
        clock_s: by how much its clock is ahead of this one, s; None if that is not known.
        steps: how the programs that prove the tiny model have ended.
        stamp: of the tiny model compiled there; None if it was not.
        proof: of this model; None if there is none.
    """

    asked: Asked
    started: float
    machine: Machine
    places: tuple[Place, ...]
    missing: tuple[str, ...]
    file_ms: float
    seen_s: float | None
    clock_s: float | None
    steps: tuple[Step, ...]
    stamp: Deployed | None = None
    proof: Proof | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the nodes, in the order of the ranks."""
        return tuple(dict.fromkeys(place.name for place in self.places))

    @property
    def cores(self) -> int:
        """Number of cores that its ranks may use, on all nodes together."""
        return len({(place.name, core) for place in self.places for core in place.cores})

    @property
    def given(self) -> int | None:
        """Number of processors that Slurm gave, on all nodes together; None without Slurm."""
        nodes = {place.name: place.given for place in self.places}
        numbers = [number for number in nodes.values() if number is not None]
        return sum(numbers) if len(numbers) == len(nodes) else None

    @property
    def gpus(self) -> int:
        """Number of GPUs that can be used on the node that has fewest."""
        return min(
            len({gpu for place in self.places if place.name == host for gpu in place.gpus})
            for host in self.hosts
        )

    @property
    def failed(self) -> Step | None:
        """The step that failed; None if none did."""
        return next((step for step in self.steps if step.code), None)


@dataclass(frozen=True)
class NoAnswer:
    """A probe that has failed, and why."""

    asked: Asked
    why: str


@dataclass(frozen=True)
class Probed:
    """A probe that has ended.

    Attributes:
        found: its answer.
        queued_s: time in the queue, s; None if it is not known.
    """

    found: Answer | NoAnswer
    queued_s: float | None = None

    @property
    def asked(self) -> Asked:
        """What was asked."""
        return self.found.asked


def ask(
    asked: Sequence[Asked],
    campaign: Campaign,
    *,
    engines: Engines,
    launcher: Launcher,
    near: Launcher,
    place: Path,
) -> list[Probed]:
    """Ask at all places at once.

    Args:
        asked: what is asked.
        campaign: the campaign.
        engines: see `job`.
        launcher: of the site.
        near: a launcher of this machine, which answers the files of the probes.
        place: a folder that all nodes see.
    """
    jobs = [job(one, campaign, engines, place / f"probe-{one.kinds[0]}") for one in asked]
    ended: dict[Path, Probed] = {}
    since: dict[Path, float] = {}
    which = {one.directory: what for one, what in zip(jobs, asked, strict=True)}
    answers = answering([one.directory for one in jobs], place / "answers")
    with closing(near.session()) as beside, closing(launcher.session()) as session:
        beside.add(answers)
        next(beside.events())
        for one in jobs:
            session.add(one)
            since[one.directory] = time.time()
        started = dict(since)
        for event in session.events():
            where = event.job.directory
            if isinstance(event, Queued) and not event.seconds:
                since[where] = time.time()
            elif isinstance(event, Started):
                started[where] = time.time()
            elif isinstance(event, Finished):
                found = read(which[where], event, campaign)
                waited = _begun(found, started[where]) - since[where]
                ended[where] = Probed(found, max(0.0, waited))
    return [ended[one.directory] for one in jobs]


def _begun(found: Answer | NoAnswer, seen: float) -> float:
    """When a probe has started, by the clock here: as it says itself, or as it was seen."""
    if isinstance(found, NoAnswer) or found.clock_s is None:
        return seen
    return found.started - found.clock_s


def job(asked: Asked, campaign: Campaign, engines: Engines, directory: Path) -> Job:
    """The probe: the same size and kind as the real job, another program.

    Args:
        asked: what is asked.
        campaign: whose programs are looked for, and whose elements the tiny model has.
        engines: with the plugin, if that is known.
        directory: where it runs.
    """
    steps, inputs = _model(asked, campaign, engines, directory.absolute() / MODEL)
    request = {"programs": programs(asked, campaign, engines), "steps": steps}
    return replace(
        asked.job,
        name=f"probe of {asked.name}",
        argv=(sys.executable, "-P", str(CHILD), REQUEST),
        directory=directory,
        inputs={REQUEST: json.dumps(request).encode(), **inputs},
        links={},
        copies={},
        timeout_s=LIMIT_S,
    )


def answering(folders: Sequence[Path], directory: Path) -> Job:
    """The job that answers the files of probes, on the machine of this process."""
    argv = (sys.executable, "-P", str(CHILD), ANSWER, *(str(one.absolute()) for one in folders))
    return Job("answers to the probes", argv, directory)


def programs(asked: Asked, campaign: Campaign, engines: Engines) -> list[str]:
    """Files and programs that must be there."""
    found = [asked.job.argv[0]] if asked.is_for("label") and campaign.reference.command else []
    found = [name for name in found if name != sys.executable]  # perhaps another one there
    if asked.is_for(*WITH_LAMMPS):
        biased = any(system.plumed for system in campaign.settings.systems.values())
        kernel = engines.plumed.kernel if engines.plumed and biased else None
        paths = (engines.lmp, kernel, engines.plugin)
        found += [str(path) for path in paths if path is not None]
    return found


def _model(
    asked: Asked, campaign: Campaign, engines: Engines, place: Path
) -> tuple[list[dict[str, object]], dict[str, bytes]]:
    """The steps that prove a tiny model there, and the files that they read."""
    if not asked.is_for(*WITH_MODEL):
        return [], {}
    settings, atoms = campaign.settings.model, frame(campaign)
    made = untrained.network(campaign.types, dtype=settings.dtype, cutoff_A=settings.cutoff_A)
    model = f"model{ENDINGS['torchscript']}"
    device = campaign.settings.deploy.device if asked.is_for(*WITH_DEVICE) else "auto"
    eager = {"frames": [frame_to_json(atoms)], "force_rms_eV_per_A": untrained.FORCES}
    evaluation = {
        "model": model,
        "frames": [frame_to_json(probe.atoms) for probe in _probes(campaign, []).asked()],
        "nve_fs": [],
        "device": None if device == "auto" else device,
    }
    compiling = (NETWORK, model, "--mode", "torchscript", "--device", device, TRUST)
    children = [
        ("models.eager_child", NETWORK, "eager.json", "said.json", TRUST),
        ("models.compile_child", *compiling),
        ("validation.predict_child", "request.json", "result.json"),
    ]
    if engines.plugin is None:
        children.pop()
    steps = [
        _step(name, words, engines, place) for name, words in zip(STEPS, children, strict=False)
    ]
    inputs = {NETWORK: made, "eager.json": eager, "request.json": evaluation}
    return steps, {f"{MODEL}/{name}": json.dumps(text).encode() for name, text in inputs.items()}


def _step(name: str, words: Sequence[str], engines: Engines, place: Path) -> dict[str, object]:
    return {
        "name": name,
        "argv": ["", "-m", f"phasewalk.{words[0]}", *words[1:]],  # the Python of the probe itself
        "directory": str(place),
        "env": dict(engines.env),
        "limit_s": STEP_S,
    }


def frame(campaign: Campaign) -> Atoms:
    """The smallest structure, displaced."""
    return bare(rehearsal.displaced(min(campaign.structures.values(), key=len)))


def _probes(campaign: Campaign, eager: Sequence[accuracy.Prediction]) -> Probes:
    dtype = campaign.settings.model.dtype
    return Probes(frames=[frame(campaign)], eager=eager, dtype=dtype, full=False)


def read(asked: Asked, finished: Finished, campaign: Campaign) -> Answer | NoAnswer:
    """What a probe has found."""
    place = finished.directory
    try:
        finished.require_success()
        found = files.read(place / PROBE, _Written, unlike="not the answer of a probe")
        ranks = range(1, finished.job.ranks * finished.job.nodes if finished.job.mpiexec else 1)
        others = [
            files.read(place / RANK.format(number), Place, unlike="not there") for number in ranks
        ]
    except EngineFailed as error:
        return NoAnswer(asked, str(error).partition(" (all files are in")[0])
    except ParseError as error:
        return NoAnswer(asked, f"not all of its ranks have answered: {error}")
    steps = tuple(found.steps)
    return Answer(
        asked=asked,
        started=found.started,
        machine=found.machine,
        places=(found.place, *others),
        missing=tuple(found.missing),
        file_ms=found.file_ms,
        seen_s=found.seen_s,
        clock_s=found.clock_s,
        steps=steps,
        stamp=_stamp(place / MODEL, steps),
        proof=_proof(place / MODEL, steps, campaign),
    )


def _done(steps: Sequence[Step], name: str) -> bool:
    return any(step.name == name and step.code == 0 for step in steps)


def _stamp(place: Path, steps: Sequence[Step]) -> Deployed | None:
    return read_stamp(place / "stamp.json") if _done(steps, STEPS[1]) else None


def _proof(place: Path, steps: Sequence[Step], campaign: Campaign) -> Proof | None:
    """Whether LAMMPS and Python agree there."""
    if not _done(steps, STEPS[2]):
        return None
    said = json.loads((place / "said.json").read_bytes())
    asked = _probes(campaign, [accuracy.prediction(one) for one in said["frames"]])
    result = files.read(place / "result.json", accuracy.Predictions, unlike="not a result")
    return asked.judge(result, len(asked.asked()))
