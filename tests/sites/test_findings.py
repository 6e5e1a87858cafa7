"""What is to be mended at a site: one line for each fault, and none without one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_engines
from helpers.fakes import SALT, FakeLauncher, write_campaign
from helpers.probed import DONE, MACHINE, STAMP, WITH_GPU, answer, asked, place
from phasewalk.campaign import Campaign, inputs
from phasewalk.engines import Engines, Machine
from phasewalk.jobs import Job
from phasewalk.sites import findings
from phasewalk.sites.probe import Answer, NoAnswer, Probed, Step
from phasewalk.validation import Proof
from phasewalk.validation.gate import Check

PLAIN = SALT[: SALT.index("    plumed:")]
BAD = Proof((Check("parity of the forces", 1.0, 0.1, "eV/Å", 0, ok=False),))
OTHER = replace(MACHINE, processor="avx sse")
WITHOUT = replace(MACHINE, has_compiler=False)


def machine(**versions: str | None) -> Machine:
    found = {**MACHINE.versions, **versions}
    return replace(MACHINE, versions={n: v for n, v in found.items() if v is not None})


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    return fake_engines.engines(tmp_path, MACHINE)


def campaign(folder: Path, more: str = "") -> Campaign:
    return inputs.load(write_campaign(folder, PLAIN + more))


def rows(campaign: Campaign, engines: Engines, *answers: Answer | NoAnswer) -> list[list[str]]:
    found = findings.to_mend([Probed(one, 1.0) for one in answers], campaign, engines)
    return [[row.what, row.state, row.found] for row in found]


def test_places_without_a_fault_have_no_row(tmp_path: Path, engines: Engines) -> None:
    """Cores that nothing binds are more than were asked for; a machine's own may be fewer."""
    crowd = asked("segment", ranks=8)
    good = [
        answer(asked("label", cores=2), place(cores=64, given=2)),
        answer(asked("train", "compile", gpus=1)),
        answer(asked("segment", "evaluate", gpus=2)),
        answer(crowd, place(cores=2), machine=WITH_GPU),
    ]
    assert rows(campaign(tmp_path), engines, *good) == []


ON_GPU = place(given=1, gpus=["0"])
SEGMENT, LABEL, COMPILE = asked("segment"), asked("label", cores=4), asked("compile")


@pytest.mark.parametrize(
    ("of", "how", "state", "says"),
    [
        (
            LABEL,
            {"places": (place(cores=2, given=4),)},
            "wrong",
            "4 core(s) were asked for on n1, but only 2 can",
        ),
        (
            LABEL,
            {"places": (place(cores=2),)},
            "advice",
            "4 core(s) were asked for on n1, but only 2 can",
        ),
        (
            asked("label", ranks=4),
            {"places": (place("n1", 2, 2), place("n2", 1, 2))},
            "wrong",
            "on n1, n2, but only 3",
        ),
        (
            asked("segment", gpus=2),
            {"places": (ON_GPU,)},
            "wrong",
            "2 GPU(s) were asked for, but a job sees 1 on",
        ),
        (
            asked("train", gpus=1),
            {"machine": MACHINE},
            "wrong",
            "GPU(s) 0 were given on n1, but there is no driver",
        ),
        (asked("train", gpus=1), {"stamp": STAMP}, "wrong", "torch 2 does not see the GPU of n1"),
        (SEGMENT, {"missing": ("/a/lmp",)}, "missing", "/a/lmp: not found on n1; load its module"),
        (
            SEGMENT,
            {"steps": (Step("in Python", 1, "no cake", 1.0),)},
            "wrong",
            "fails on n1, in Python: no cake",
        ),
        (
            SEGMENT,
            {"steps": (*DONE[:2], Step("in LAMMPS", 9, "", 1.0))},
            "wrong",
            "fails on n1, in LAMMPS: 9",
        ),
        (
            asked("train"),
            {"steps": (*DONE[:2], Step("in LAMMPS", 9, "", 1.0))},
            "advice",
            "in LAMMPS: 9",
        ),
        (
            SEGMENT,
            {"proof": BAD},
            "wrong",
            "LAMMPS and Python differ on n1: FAILED: parity of the forces",
        ),
        (SEGMENT, {"seen_s": None}, "wrong", "files that n1 writes are not seen here"),
        (SEGMENT, {"seen_s": 31.0}, "advice", "seen after 31 s"),
        (SEGMENT, {"file_ms": 120.0}, "advice", "a small file takes 120 ms on n1"),
        (SEGMENT, {"clock_s": -70.0}, "advice", "differs by -70 s"),
        (LABEL, {"machine": machine(phasewalk="2")}, "wrong", "phasewalk is 2 on n1, but 1 here"),
        (
            asked("train"),
            {"machine": machine(nequip=None)},
            "missing",
            "nequip is not installed on n1",
        ),
        (COMPILE, {"machine": WITHOUT}, "advice", "no C++ compiler (c++) on n1"),
    ],
)
def test_one_fault_is_one_row(
    tmp_path: Path, engines: Engines, of: Any, how: Mapping[str, Any], state: str, says: str
) -> None:
    given = dict(how)
    found = rows(campaign(tmp_path), engines, answer(of, *given.pop("places", ()), **given))
    assert [row[:2] for row in found] == [[of.name, state]]
    assert says in found[0][2]


def test_hardware_threads_are_no_cores(tmp_path: Path, engines: Engines) -> None:
    cores = replace(place(given=4), cores=["0,8", "1,9"])
    (row,) = rows(campaign(tmp_path), engines, answer(LABEL, cores))
    assert row[1:] == [
        "wrong",
        "Slurm gave 4 processors on n1, which are hardware threads of 2 core(s), for 4 asked; add "
        "--hint=nomultithread to options",
    ]


@pytest.mark.parametrize(
    ("made", "more", "why"),
    [
        (WITH_GPU, "", "compiled for cuda, but this machine has no GPU"),
        (machine(torch="1"), "", "compiled for torch 1, but this machine has 2"),
        (machine(torch="1"), "deploy: {mode: torchscript}\n", ""),
        (WITH_GPU, "deploy: {device: cpu}\n", ""),
        (replace(MACHINE, processor="avx fly avx2 sse"), "", "a processor with fly"),
        (OTHER, "", ""),
    ],
)
def test_models_must_run_where_they_are_used(
    tmp_path: Path, engines: Engines, made: Machine, more: str, why: str
) -> None:
    """Trainings and labels use no compiled model."""
    compiled = answer(COMPILE, machine=made)
    others = [answer(asked(kind)) for kind in ("label", "train", "segment")]
    found = rows(campaign(tmp_path, more), engines, compiled, *others)
    assert [row[:2] for row in found] == ([["segment", "wrong"]] if why else [])
    assert all(why in row[2] for row in found)


def test_a_model_for_another_gpu(tmp_path: Path, engines: Engines) -> None:
    """Nor one for the processor, where walkers have a GPU."""
    used = answer(asked("segment", gpus=1))
    old = answer(asked("compile", gpus=1), machine=replace(WITH_GPU, gpu="sm_80"))
    (row,) = rows(campaign(tmp_path), engines, old, used)
    assert "for a GPU of type sm_80, but this machine has sm_90" in row[2]
    (row,) = rows(campaign(tmp_path), engines, answer(COMPILE), used)
    assert "compiled for cpu, but this machine has a GPU" in row[2]


def test_a_probe_without_an_answer(tmp_path: Path, engines: Engines) -> None:
    found = [
        NoAnswer(LABEL, "probe of label was killed for memory: 2 of 1 GB; raise memory_GB"),
        NoAnswer(SEGMENT, "probe of segment ended with code 127: python: No such file"),
    ]
    first, second = rows(campaign(tmp_path), engines, *found)
    assert first == ["label", "wrong", found[0].why]
    assert second[2].startswith(f"{found[1].why}; the Python environment of phasewalk, the")


@pytest.mark.parametrize(
    ("says", "unseen"),
    [
        ("", True),
        (": phasewalk: module load torch failed", False),
    ],
)
def test_a_batch_script_that_fails(
    tmp_path: Path, engines: Engines, says: str, unseen: bool
) -> None:
    """It says nothing if it sees no folder of this machine, and so cannot write its output."""
    why = f"probe was ended with its batch script, which failed with code 1 (n2){says}"
    (row,) = rows(campaign(tmp_path), engines, NoAnswer(LABEL, why))
    assert ("must be visible there" in row[2]) == unseen


def test_the_table(engines: Engines) -> None:
    gpus = answer(asked("segment", "evaluate", gpus=2), clock_s=None, proof=BAD)
    failed = NoAnswer(asked("train"), "gone")
    probed = [Probed(answer(LABEL), 31.26), Probed(gpus, 0.0), Probed(failed)]
    lines = {line[0]: line[1:] for line in findings.table(probed, engines)}
    assert lines == {
        "": ("label", "segment, evaluate", "train"),
        "time in queue": ("31.3 s", "0.0 s", ""),
        "host": ("n1", "n1", "-"),
        "cores": (
            "asked 4, given 4, usable 4",
            "asked 1, given 1, usable 1",
            "-",
        ),
        "GPUs": ("none", "asked 2, seen 2 (0,1): sm_90", "-"),
        "python": ("3.11", "3.11", "-"),
        "phasewalk": ("1", "1", "-"),
        "torch": ("2", "2", "-"),
        "nequip": ("3", "3", "-"),
        "programs": ("found", "found", "-"),
        "tiny model": (
            "cpu: compiled only",
            f"cuda: {BAD.failure()}",
            "-",
        ),
        "file seen after": (*2 * ("0.10 s, there and back",), "-"),
        "small file": ("1.0 ms", "1.0 ms", "-"),
        "clock": ("+0.0 s", "", "-"),
        "models made here": ("fit", "fit", "-"),
    }


def test_of_many_nodes_only_some_are_named(engines: Engines) -> None:
    found = answer(asked("segment", ranks=9), *(place(f"n{number}") for number in range(9)))
    lines = {line[0]: line[1] for line in findings.table([Probed(found)], engines)}
    assert lines["host"] == "n0, n1, n2 and 6 others (9 ranks)"
    assert lines["cores"] == "asked 9, usable 9"


def test_models_of_this_machine_may_not_fit_there(engines: Engines) -> None:
    (line,) = [
        line
        for line in findings.table([Probed(answer(LABEL, machine=OTHER))], engines)
        if line[0] == "models made here"
    ]
    assert line[1] == "no: compiled for a processor with avx2, which this machine does not have"


def test_what_is_wrong_before_any_job(tmp_path: Path, engines: Engines) -> None:
    made = inputs.load(write_campaign(tmp_path, SALT + "deploy: {device: cuda}\n"))
    found = list(findings.before([SEGMENT], made, engines=engines, launcher=FakeLauncher(cores=0)))
    assert [row.what for row in found] == ["segment", "PLUMED", "segment"]
    assert "2 walkers, but 0 core(s)" in found[0].found
    assert "the site file gives segment no GPU" in found[2].found
    plain = campaign(tmp_path)
    assert list(findings.before([SEGMENT], plain, engines=engines, launcher=FakeLauncher())) == []


def test_a_job_that_could_not_start() -> None:
    job = Job("compile", ("x",), Path("x"), "compile", threads=8)
    assert findings.refused(job, 1, "Invalid partition name.").found == (
        "no such job (8 core(s), 1 GPU(s) per node) could start: Invalid partition name; correct "
        "compile in the site file, or deploy.mode: torchscript, which compiles on one core; sinfo "
        "shows nodes that are down"
    )
    many = Job("segment", ("x",), Path("x"), "segment", ranks=60)
    assert findings.refused(many, 0, "Requested node configuration is not available").found == (
        "no such job (60 core(s)) could start: Requested node configuration is not available; "
        "correct segment in the site file, or set its key walkers, which divides a segment into "
        "several launches; sinfo shows nodes that are down"
    )
