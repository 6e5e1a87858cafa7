"""What the probes of a site have found: a table, and what is to be mended."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from .. import engines as finding
from .. import models
from ..campaign import Campaign, config
from ..checks import check, untrained
from ..engines import Engines, Machine
from ..errors import InputError
from ..jobs import Job, Launcher
from ..models import Deployed
from .probe import STEPS, WITH_DEVICE, WITH_LAMMPS, WITH_MODEL, Answer, Asked, NoAnswer, Probed

SLOW_FILE_MS = 50.0
"""Time of a small file, ms, from which a file system is called slow: a label has about ten."""
SLOW_SEEN_S = 5.0
"""Time, s, after which files of other machines are seen late."""
CLOCK_S = 5.0
"""Difference of two clocks, s, that is mentioned."""
UNSEEN = ("No such file", "code 127", "with its batch script", "without a result")
"""Parts of messages of jobs that do not see files of this machine."""
SHOWN = 3
"""Number of nodes that are named."""
SHARING = ("segment", "compile")
"""Kinds whose jobs take the cores that there are, if these are fewer than they ask for."""


def table(probed: Sequence[Probed], engines: Engines) -> list[tuple[str, ...]]:
    """Lines of the table: a title, and one cell for each place; the first line has the kinds.

    Args:
        probed: the probes.
        engines: with the machine of this process.
    """
    here = engines.machine
    names = [name for name in ("python", *PACKAGES) if any(_has(one, name) for one in probed)]
    lines: list[tuple[str, Callable[[Answer], str]]] = [
        ("host", lambda one: _where(one) + _ranks(one)),
        ("cores", _cores),
        ("GPUs", _gpus),
        *((name, _version(name)) for name in names),
        ("programs", lambda one: "not all found" if one.missing else "found"),
        ("tiny model", _parity),
        ("file seen after", _seen),
        ("small file", lambda one: f"{one.file_ms:.1f} ms"),
        (
            "clock",
            lambda one: "" if one.clock_s is None else f"{round(one.clock_s, 1) + 0.0:+.1f} s",
        ),
        ("models made here", lambda one: _fit(here, one.machine)),
    ]
    found = [("", *(one.asked.name for one in probed))]
    queued = ["" if one.queued_s is None else f"{one.queued_s:.1f} s" for one in probed]
    found.append(("time in queue", *queued))
    for title, cell in lines:
        cells = [cell(one.found) if isinstance(one.found, Answer) else "-" for one in probed]
        found.append((title, *cells))
    return found


PACKAGES = ("phasewalk", "lammps", "mpich", "torch", "nequip", "tblite")
"""Packages in the table."""


def _has(one: Probed, name: str) -> bool:
    return isinstance(one.found, Answer) and name in one.found.machine.versions


def _version(name: str) -> Callable[[Answer], str]:
    return lambda one: one.machine.versions.get(name, "none")


def _ranks(one: Answer) -> str:
    return f" ({len(one.places)} ranks)" if len(one.places) > 1 else ""


def _cores(one: Answer) -> str:
    """Number of cores: those asked for, those that Slurm gave, those that can be used."""
    given = "" if one.given is None else f", given {one.given}"
    return f"asked {one.asked.job.cores}{given}, usable {one.cores}"


def _gpus(one: Answer) -> str:
    if not one.gpus:
        return "none" if not one.asked.gpus else f"asked {one.asked.gpus}, none seen"
    names = ", ".join(dict.fromkeys(n for place in one.places for n in place.gpu_names))
    which = ",".join(sorted({gpu for place in one.places for gpu in place.gpus}))
    what = " ".join(part for part in (names, one.machine.gpu) if part)
    what = what if one.machine.has_gpu else "no driver"
    return f"asked {one.asked.gpus}, seen {one.gpus} ({which}): {what or 'type not known'}"


def _parity(one: Answer) -> str:
    if one.failed is not None:
        return f"fails {one.failed.name}"
    device = f"{one.stamp.device}: " if one.stamp is not None else ""
    if one.proof is not None:
        return f"{device}{_apart(one)}"
    return f"{device}compiled only" if one.stamp is not None else "not tried"


def _apart(one: Answer) -> str:
    """Differences of LAMMPS and Python, or the check that failed."""
    if one.proof is None:
        return ""
    return untrained.in_words(one.proof) if one.proof.passed else one.proof.failure()


def _seen(one: Answer) -> str:
    return "not seen" if one.seen_s is None else f"{one.seen_s:.2f} s, there and back"


def _fit(made: Machine, used: Machine) -> str:
    """Whether models that are compiled on one machine run on another."""
    reason = models.misfit(stamp_of(made), used)
    return f"no: {reason.removeprefix('it was ')}" if reason else "fit"


def stamp_of(machine: Machine) -> Deployed:
    """The stamp of a model that would be compiled with AOTInductor on a machine."""
    return Deployed(
        file="model.nequip.pt2",
        mode="aotinductor",
        device="cuda" if machine.has_gpu else "cpu",
        dtype="float32",
        types=(),
        r_max_A=0.0,
        torch=machine.torch,
        nequip=str(machine.versions.get("nequip")),
        cpu="",
        processor=machine.processor,
        seconds=0.0,
        gpu=machine.gpu.partition(" ")[0],
    )


def before(
    asked: Sequence[Asked], campaign: Campaign, *, engines: Engines, launcher: Launcher
) -> Iterator[check.Row]:
    """What is wrong with campaign and site together, known without any job.

    Args:
        asked: what would be asked.
        campaign: the campaign.
        engines: where its programs are.
        launcher: of the site.
    """
    try:
        config.check_launches(campaign.settings, launcher, campaign.path)
    except InputError as error:
        yield check.Row("segment", "wrong", str(error))
    if any(system.plumed for system in campaign.settings.systems.values()) and not engines.plumed:
        yield check.Row("PLUMED", "missing", finding.HOW_TO_GET_PLUMED)
    for one in asked:
        if one.is_for("segment") and campaign.settings.deploy.device == "cuda" and not one.gpus:
            yield check.Row(
                "segment",
                "wrong",
                "deploy.device: cuda, but the site file gives segment no GPU; set gpus of segment, "
                "compile and evaluate, or use deploy.device: auto or cpu",
            )


def refused(job: Job, gpus: int, why: str) -> check.Row:
    """A job that the scheduler would never start."""
    needs = f"{job.cores} core(s)" + (f", {gpus} GPU(s) per node" if gpus else "")
    smaller = {
        "compile": ", or deploy.mode: torchscript, which compiles on one core",
        "segment": ", or set its key walkers, which divides a segment into several launches",
    }
    or_ = smaller.get(job.kind, "") if job.cores > 1 else ""
    return check.Row(
        job.name,
        "wrong",
        f"no such job ({needs}) could start: {why.rstrip('.')}; correct {job.name} in the site "
        f"file{or_}; sinfo shows nodes that are down",
    )


def to_mend(probed: Sequence[Probed], campaign: Campaign, engines: Engines) -> Iterator[check.Row]:
    """Rows for what is wrong or doubtful at the places of a site.

    Args:
        probed: the probes of all places.
        campaign: what is to be run there.
        engines: with the machine of this process.
    """
    for one in probed:
        if isinstance(one.found, NoAnswer):
            yield check.Row(one.asked.name, "wrong", _no_answer(one.found))
            continue
        for look in LOOKS:
            rows = look(one.found, campaign, engines.machine)
            yield from (check.Row(one.asked.name, *row) for row in rows)
    answers = [one.found for one in probed if isinstance(one.found, Answer)]
    yield from _misfits(answers, campaign)


Found = Iterator[tuple[str, str]]
"""State and text of rows."""


def _no_answer(found: NoAnswer) -> str:
    unseen = any(text in found.why for text in UNSEEN) and "module load" not in found.why
    if unseen:
        return (
            f"{found.why}; the Python environment of phasewalk, the campaign directory and scratch "
            "must be visible there under the same path as here (see modules, prefix, scratch of "
            "the site file)"
        )
    return found.why


def _where(one: Answer) -> str:
    """Names of its nodes, or of the first ones."""
    names = one.hosts
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN + 1 else ""
    return ", ".join(names[:SHOWN] if more else names) + more


def _wrong_cores(one: Answer, campaign: Campaign, here: Machine) -> Found:
    asked = one.asked.job.cores
    expected = asked if one.given is None else min(asked, one.given)
    if one.cores >= expected or (one.given is None and one.asked.is_for(*SHARING)):
        return
    if one.given is not None and any("," in core or "-" in core for core in one.places[0].cores):
        yield (
            "wrong",
            f"Slurm gave {one.given} processors on {_where(one)}, which are hardware threads of "
            f"{one.cores} core(s), for {asked} asked; add --hint=nomultithread to options",
        )
        return
    yield (
        "wrong" if one.given is not None else "advice",
        f"{expected} core(s) were asked for on {_where(one)}, but only {one.cores} can be used; "
        "ask for fewer in the campaign file, or use other nodes (partition, constraint)",
    )


def _wrong_gpus(one: Answer, campaign: Campaign, here: Machine) -> Found:
    asked = one.asked.gpus
    on_cpu = campaign.settings.deploy.device == "cpu" and one.asked.is_for(*WITH_DEVICE)
    if one.gpus < asked:
        yield (
            "wrong",
            f"{asked} GPU(s) were asked for, but a job sees {one.gpus} on {_where(one)}; correct "
            "gpus, gpu_type or partition",
        )
    elif asked and not one.machine.has_gpu:
        yield (
            "wrong",
            f"GPU(s) {','.join(one.places[0].gpus)} were given on {_where(one)}, but there is no "
            "driver (no nvidia-smi or rocm-smi); another partition, or its modules or prefix "
            "(apptainer exec --nv)",
        )
    elif asked and one.stamp is not None and one.stamp.device == "cpu" and not on_cpu:
        yield (
            "wrong",
            f"torch {one.machine.torch} does not see the GPU of {_where(one)}; install a torch for "
            "its driver, or correct modules or prefix",
        )


def _wrong_files(one: Answer, campaign: Campaign, here: Machine) -> Found:
    for name in one.missing:
        yield (
            "missing",
            f"{name}: not found on {_where(one)}; load its module (modules of the site file), or "
            "put it where all nodes see it",
        )


def _wrong_model(one: Answer, campaign: Campaign, here: Machine) -> Found:
    step = one.failed
    if step is not None:
        needed = step.name != STEPS[2] or one.asked.is_for(*WITH_LAMMPS)
        yield (
            "wrong" if needed else "advice",
            f"a tiny model fails on {_where(one)}, {step.name}: {step.said or step.code}",
        )
    elif one.proof is not None and not one.proof.passed:
        yield (
            "wrong",
            f"LAMMPS and Python differ on {_where(one)}: {one.proof.failure()}; rebuild the plugin",
        )


def _wrong_time(one: Answer, campaign: Campaign, here: Machine) -> Found:
    if one.seen_s is None:
        yield (
            "wrong",
            f"files that {_where(one)} writes are not seen here; put the campaign directory, and "
            "scratch, on a file system that all machines share",
        )
    elif one.seen_s > SLOW_SEEN_S:
        yield (
            "advice",
            f"a file is seen after {one.seen_s:.0f} s, there and back, so that each job ends late "
            "by about that; a folder on a file system without such a cache is better (NFS: "
            "actimeo)",
        )
    if one.file_ms > SLOW_FILE_MS:
        yield (
            "advice",
            f"a small file takes {one.file_ms:.0f} ms on {_where(one)}, and each label has about "
            "ten; put the campaign directory on a faster file system",
        )
    if one.clock_s is not None and abs(one.clock_s) > CLOCK_S:
        yield (
            "advice",
            f"the clock of {_where(one)} differs by {one.clock_s:+.0f} s from that here; ask the "
            "administrators to set both (NTP), since ages of files depend on it",
        )


def _wrong_versions(one: Answer, campaign: Campaign, here: Machine) -> Found:
    there = one.machine.versions
    ours, theirs = here.versions.get("phasewalk"), there.get("phasewalk")
    if theirs is not None and theirs != ours:
        yield (
            "wrong",
            f"phasewalk is {theirs} on {_where(one)}, but {ours} here; install the same version",
        )
    needed = ("torch", "nequip") if one.asked.is_for(*WITH_MODEL) else ()
    for name in needed:
        if name not in there:
            yield "missing", f"{name} is not installed on {_where(one)}; pip install {name}"


def _wrong_compiler(one: Answer, campaign: Campaign, here: Machine) -> Found:
    mode = campaign.settings.deploy.mode
    if not one.asked.is_for("compile") or one.machine.has_compiler or mode == "torchscript":
        return
    state = "missing" if mode == "aotinductor" else "advice"
    yield (
        state,
        f"no C++ compiler (c++) on {_where(one)}, which AOTInductor needs: load a module with one "
        "for compile, or set deploy.mode: torchscript",
    )


LOOKS = (
    *(_wrong_cores, _wrong_gpus, _wrong_files, _wrong_model, _wrong_time),
    *(_wrong_versions, _wrong_compiler),
)


def _misfits(answers: Sequence[Answer], campaign: Campaign) -> Iterator[check.Row]:
    """Whether models run where they are used, if they are compiled where they would be."""
    made = next((one for one in answers if one.asked.is_for("compile")), None)
    for one in answers if made is not None else ():
        if made is None or one is made or not one.asked.is_for("segment", "evaluate"):
            continue
        stamp = _stamp_for(made.machine, campaign)
        reason = models.misfit(stamp, one.machine)
        if not reason and stamp.device == "cpu" and one.machine.has_gpu and _auto(campaign):
            reason = "it was compiled for cpu, but this machine has a GPU"
        if reason:
            yield check.Row(
                one.asked.name,
                "wrong",
                f"a model compiled on {_where(made)} (compile) cannot be used on {_where(one)}: "
                f"{reason}; let compile, evaluate and segment use nodes of one type (partition, "
                "constraint, gpus, gpu_type)",
            )


def _auto(campaign: Campaign) -> bool:
    return campaign.settings.deploy.device == "auto"


def _stamp_for(machine: Machine, campaign: Campaign) -> Deployed:
    """The stamp of a model of the campaign that is compiled on a machine."""
    settings, stamp = campaign.settings.deploy, stamp_of(machine)
    mode = "torchscript" if settings.mode == "torchscript" else stamp.mode
    device = stamp.device if settings.device == "auto" else settings.device
    return replace(stamp, mode=mode, device=device)
