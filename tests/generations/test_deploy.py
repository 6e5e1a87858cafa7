"""From checkpoint to deployed model: compiled once beside a training, swapped into ever after."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.fake_slurm import FakeSlurm
from helpers.fakes import FakeLauncher, Watcher, write_campaign
from helpers.outputs import whole
from phasewalk.batch import JobsLauncher
from phasewalk.campaign import inputs, tasks
from phasewalk.campaign.tasks import Outputs, Task, Work
from phasewalk.cluster import SiteSettings
from phasewalk.engines import discovery, here, shared_code
from phasewalk.engines.discovery import EngineSettings
from phasewalk.errors import EngineFailed, GateFailed
from phasewalk.generations import compile, deploy, forms, refit
from phasewalk.generations.deploy import Generation, Plan
from phasewalk.jobs import Finished, Job
from phasewalk.models import model, training_config
from phasewalk.models.model import Deployed
from phasewalk.store import directory
from phasewalk.store.records import Record

CAMPAIGN = """\
campaign: salt
rounds: 4
systems:
  salt: {structure: salt.extxyz, walkers: 2}
segment: {steps: 1000}
resources: {cores: 2}
deploy: {mode: MODE, device: cpu}
"""
NETWORK = {"_target_": "network", "seed": 1, "r_max": 4.0}
GRAPH = training_config.graph_of(NETWORK)
ARBITRARY, CHECKPOINT = np.arange(4.0), np.arange(4.0) + 10


def archive(*weights: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        name = zipfile.ZipInfo("library.so")  # of a fixed date
        made.writestr(name, b"code" + b"code".join(w.tobytes() for w in weights))
    return stream.getvalue()


def npz(weights: Any, graph: str = GRAPH) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, graph=graph, w=weights)
    return stream.getvalue()


def compiler(times: int = 1) -> Callable[[Job], int]:
    """Plays the child process: each weight stands so many times in what it makes."""

    def play(job: Job) -> int:
        place = job.directory
        mode = job.argv[job.argv.index("--mode") + 1]
        weights = ARBITRARY if model.NETWORK in job.inputs else CHECKPOINT
        if model.NETWORK in job.inputs:
            graph = training_config.graph_of(json.loads(job.inputs[model.NETWORK]))
            (place / training_config.WEIGHTS).write_bytes(npz(weights, graph))
        stamp = Deployed(
            f"model{model.ENDINGS[mode]}", mode, "cpu", "float32", ("Cl", "Na"), 4.0,
            here().torch, "0.19", "any", here().processor, 50.0,
        )  # fmt: skip
        (place / stamp.file).write_bytes(archive(*[weights] * times))
        (place / "stamp.json").write_text(model.stamp_text(stamp))
        return 0

    return play


@contextmanager
def at_work(folder: Path, mode: str = "aotinductor", play: Any = None) -> Iterator[Work]:
    """A campaign whose user has an own cache."""
    folder.mkdir(exist_ok=True)
    campaign = inputs.load(write_campaign(folder, CAMPAIGN.replace("MODE", mode)))
    found = discovery.find(EngineSettings(), {})
    machine = replace(found.machine, has_compiler=True)
    found = replace(found, cache=folder.parent / "cache", machine=machine)
    with closing(directory.open_campaign(folder / "run", campaign.identity())) as opened:
        yield Work(campaign, opened, FakeLauncher(play or compiler()), found, Watcher())


def elsewhere(work: Work, **changes: Any) -> Work:
    """The same campaign, whose jobs run on another machine."""
    machine = replace(work.engines.machine, **changes)
    return replace(work, engines=replace(work.engines, machine=machine))


def trained(work: Work, name: str, graph: str = GRAPH) -> dict[str, str]:
    """What a training leaves."""
    work.store.write(f"{name}/weights.npz", npz(CHECKPOINT, graph))
    work.store.write(f"{name}/checkpoint.ckpt", name.encode())
    return {
        "weights": f"{name}/weights.npz", "checkpoint": f"{name}/checkpoint.ckpt", "sha256": name
    }  # fmt: skip


def generation(work: Work, number: int, *, network: Mapping[str, Any] = NETWORK) -> Generation:
    """Plan, compile beside the training, deploy."""
    how = deploy.plan(work, number, str(number), network)
    work.do(how.compilation)
    return deploy.deploy(work, number, str(number), trained(work, str(number)), how)


def started(work: Work) -> list[str]:
    assert isinstance(work.launcher, FakeLauncher)
    return [job.name for job in work.launcher.jobs]


@pytest.mark.parametrize("mode", model.ENDINGS)
def test_compiled_once_then_swapped_into(tmp_path: Path, mode: str) -> None:
    with at_work(tmp_path / "a", mode) as work:
        made = [generation(work, number) for number in range(3)]
        assert started(work) == [f"compile {mode}"]
        assert [one.unproved_graph for one in made] == [True, False, False]
        for one in made:
            assert one.deployed.read_bytes() == archive(CHECKPOINT)
            assert one.stamp.checkpoint == one.name
            assert one.stamp.graph == GRAPH
            assert model.read_stamp(one.deployed.with_name("stamp.json")) == one.stamp


def test_the_second_campaign_compiles_nothing_and_proves_in_full(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
    with at_work(tmp_path / "b") as work:
        assert [generation(work, n).unproved_graph for n in range(2)] == [True, False]
        assert started(work) == []


def test_on_resume_nothing_is_planned_compiled_or_proved_anew(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        first, second = generation(work, 0), generation(work, 1)
    with at_work(tmp_path / "a") as work:
        assert deploy.plan(work, 0, "0", NETWORK).compilation == ()
        assert (generation(work, 0), generation(work, 1)) == (first, second)
        assert started(work) == []


def test_a_campaign_outlives_the_cache(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
        for path in sorted((tmp_path / "cache").rglob("*.json")):
            path.unlink()
        generation(work, 1)
        assert started(work) == ["compile aotinductor"]


def test_another_network_is_compiled_for_itself(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
        how = deploy.plan(work, 1, "1", {**NETWORK, "r_max": 5.0})
        assert len(how.compilation) == 1
        assert deploy.plan(work, 1, "1", {**NETWORK, "seed": 2}).compilation == ()


@pytest.mark.parametrize("times", [0, 2])
def test_weights_that_are_not_found_once_are_compiled_with_each_checkpoint(
    tmp_path: Path, times: int
) -> None:
    with at_work(tmp_path / "a", play=compiler(times)) as work:
        made = [generation(work, number) for number in range(2)]
        assert started(work) == [
            "compile aotinductor", "compile generation 0", "compile generation 1"
        ]  # fmt: skip
        assert all(one.unproved_graph for one in made)


def test_a_trained_network_that_is_not_the_compiled_one(tmp_path: Path) -> None:
    """Should the training have built something else, its own checkpoint is compiled."""
    with at_work(tmp_path / "a") as work:
        how = deploy.plan(work, 0, "0", NETWORK)
        work.do(how.compilation)
        made = deploy.deploy(work, 0, "0", trained(work, "0", graph="other"), how)
        assert started(work)[-1] == "compile generation 0"
        assert made.stamp.graph == "other"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("file", ["template.json", "stamp.json", "model.nequip.pt2"])
@pytest.mark.parametrize("damage", [_cut, lambda path: path.unlink()], ids=["cut", "gone"])
def test_a_damaged_cache_is_no_harm(
    tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
    for path in (tmp_path / "cache").rglob(file):
        damage(path)
    with at_work(tmp_path / "b") as work:
        assert generation(work, 0).deployed.read_bytes() == archive(CHECKPOINT)
        assert len(started(work)) == 1


def test_a_package_of_another_compilation_is_not_patched(tmp_path: Path) -> None:
    """Two campaigns fill the cache at once: the places of one, the library of the other."""
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
    for path in (tmp_path / "cache").rglob("model.nequip.pt2"):
        path.write_bytes(archive(CHECKPOINT + 1, ARBITRARY))
        shared_code.seal(path.parent, (path.name, "stamp.json", "template.json"))
    with at_work(tmp_path / "b") as work:
        assert generation(work, 0).deployed.read_bytes() == archive(CHECKPOINT)
        assert started(work) == ["compile generation 0"]


def test_a_package_that_was_changed_in_the_cache_is_not_used(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
    for path in (tmp_path / "cache").rglob("model.nequip.pt2"):
        path.write_bytes(path.read_bytes() + b"evil")
    with at_work(tmp_path / "b") as work:
        assert generation(work, 0).deployed.read_bytes() == archive(CHECKPOINT)
        assert started(work) == ["compile aotinductor"]


def test_a_compiler_that_fails_stops_the_campaign(tmp_path: Path) -> None:
    def fail(job: Job) -> int:
        (job.directory / Finished.STDERR).write_text("c++: no memory\n")
        return 1

    with at_work(tmp_path / "a", play=fail) as work, pytest.raises(EngineFailed, match="no memory"):
        generation(work, 0)


def test_redeployed_on_another_machine(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as here_:
        before = generation(here_, 0)
        assert not before.again
        work = elsewhere(here_, processor="another one")
        how = deploy.plan(work, 0, "0", NETWORK, again=True)
        work.do(how.compilation)
        made = deploy.deploy(work, 0, "0", trained(work, "0"), how, again=True)
        assert started(work) == ["compile aotinductor"] * 2
        assert (made.again, made.unproved_graph) == (True, True)
        assert generation(work, 0) == made  # on resume there


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"mode": "torchscript", "torch": "1.0", "processor": "fly"}, ""),
        ({"processor": "avx sse"}, ""),
        ({"processor": "avx fly sse"}, "a processor with fly, which this machine does not have"),
        ({"torch": "1.0"}, "compiled for torch 1.0, but this machine has 2.9"),
        ({"device": "cuda"}, "compiled for cuda, but this machine has no GPU"),
        ({"gpu": "sm_80"}, ""),
    ],
)
def test_where_a_model_cannot_run(changes: dict[str, str], says: str) -> None:
    stamp = Deployed(
        "m", "aotinductor", "cpu", "float32", ("Na",), 4.0, "2.9", "0.19", "any", "avx", 1.0
    )
    machine = replace(here(), processor="sse avx fma", has_gpu=False, versions={"torch": "2.9"})
    reason = model.misfit(replace(stamp, **changes), machine)  # type: ignore[arg-type]
    assert says in reason
    assert bool(says) == bool(reason)


@pytest.mark.parametrize(
    ("built", "there", "says"),
    [
        ("sm_80", "sm_90", "for a GPU of type sm_80, but this machine has sm_90"),
        ("sm_80", "sm_80 sm_90", ""),
        ("sm_80", "", ""),
        ("", "sm_90", ""),
    ],
)
def test_code_for_one_gpu_does_not_run_on_another(built: str, there: str, says: str) -> None:
    """If both are known; TorchScript is compiled for each GPU when it runs."""
    stamp = Deployed(
        "m", "aotinductor", "cuda", "float32", ("Na",), 4.0, "2.9", "0.19", "any", "avx", 1.0
    )
    machine = replace(here(), has_gpu=True, versions={"torch": "2.9"}, gpu=there)
    reason = model.misfit(replace(stamp, gpu=built), machine)
    assert says in reason
    assert bool(says) == bool(reason)
    assert model.misfit(replace(stamp, gpu=built, mode="torchscript"), machine) == ""


def test_a_compilation_for_another_gpu_is_another(tmp_path: Path) -> None:
    """Only of AOTInductor."""
    with at_work(tmp_path / "one") as work:
        keys = {
            (mode, gpu): compile.key(elsewhere(work, has_gpu=True, gpu=gpu), mode, GRAPH)
            for mode in model.ENDINGS
            for gpu in ("", "sm_80", "sm_90")
        }
    assert len(set(keys.values())) == 4
    assert keys["torchscript", "sm_80"] == keys["torchscript", "sm_90"] == keys["torchscript", ""]


def history(work: Work, *, compile_s: float = 0.0, train_s: float = 0.0, **step_s: float) -> None:
    """What the journal says of the generations before."""
    if compile_s:
        outputs = {"mode": "aotinductor", "graph": "other", "place": "x"}
        work.store.append(whole(Record("compile", "compile", 0, "", outputs, compile_s, 0.0)))
    if train_s:
        work.store.append(
            whole(Record("train generation 0", "train", 0, "", {"epochs": 80}, train_s, 0.0))
        )
    for number, (mode, seconds) in enumerate(step_s.items()):
        made = {"mode": mode, "generation": str(number)}
        work.store.append(whole(Record(f"deploy {number}", "deploy", 0, "", made, 0.0, 0.0)))
        outputs = {**made, "seconds_per_step": seconds}
        work.store.append(whole(Record(f"evaluate {number}", "evaluate", 0, "", outputs, 0.0, 0.0)))


# a round is 25 epochs; 3 segments of 1000 steps to come after generation 1; a core for each walker
@pytest.mark.parametrize(
    ("told", "mode"),
    [
        ({}, "torchscript"),
        ({"torchscript": 0.001}, "torchscript"),  # 3 s of steps: nothing to gain
        ({"torchscript": 0.1}, "aotinductor"),  # 10 + 300 s or 60 + 120
        ({"torchscript": 0.02}, "torchscript"),  # 10 + 60 s or 60 + 24
        ({"torchscript": 0.02, "train_s": 100.0}, "aotinductor"),  # beside 25 of 80 epochs: 31 s
        ({"torchscript": 0.02, "train_s": 100.0, "compile_s": 300.0}, "torchscript"),
        ({"torchscript": 0.1, "aotinductor": 0.099}, "torchscript"),  # measured, not guessed
    ],
)
def test_auto_counts(tmp_path: Path, told: dict[str, float], mode: str) -> None:
    with at_work(tmp_path / "a", "auto") as work:
        history(work, **told)
        chosen, why = deploy.choose_mode(work, "1", GRAPH)
        assert chosen == mode
        assert why


def test_in_a_queue_each_job_has_the_cores_that_it_asks_for(tmp_path: Path) -> None:
    """Not as many as jobs may be in the queue: walkers do not share cores, compilers take eight."""
    with at_work(tmp_path / "a") as work:
        queue = JobsLauncher(SiteSettings(site="lab", max_jobs=1), FakeSlurm(), tmp_path / "slurm")
        work = replace(work, launcher=queue)
        assert work.cores == math.inf
        (task,) = deploy.plan(work, 0, "0", NETWORK).compilation
        assert task.job(tmp_path / "x").threads == compile.MOST_CORES
    with at_work(tmp_path / "b", "auto") as work:
        work = replace(work, launcher=queue)
        history(work, torchscript=0.02, train_s=100.0)  # 10 + 60 s, or 31 beside the training + 24
        assert deploy.choose_mode(work, "1", GRAPH)[0] == "aotinductor"


def test_auto_without_a_compiler(tmp_path: Path) -> None:
    with at_work(tmp_path / "a", "auto") as work:
        work = elsewhere(work, has_compiler=False)
        history(work, torchscript=1.0)
        assert deploy.choose_mode(work, "1", GRAPH)[0] == "torchscript"


def test_auto_takes_what_was_compiled_before(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        generation(work, 0)
    with at_work(tmp_path / "b", "auto") as work:
        how: Plan = deploy.plan(work, 0, "0", NETWORK)
        assert (how.mode, how.why, how.compilation) == ("aotinductor", "compiled before", ())


def test_auto_for_the_last_model(tmp_path: Path) -> None:
    with at_work(tmp_path / "a", "auto") as work:
        history(work, torchscript=1.0)
        for name in ("4", deploy.FINAL):
            assert deploy.choose_mode(work, name, GRAPH)[0] == "torchscript"


def test_a_compilation_that_a_kill_left_unrecorded_is_taken_up(tmp_path: Path) -> None:
    with at_work(tmp_path / "a") as work:
        work.do(deploy.plan(work, 0, "0", NETWORK).compilation)
        work.store.replace([])
        generation(work, 0)
        assert started(work) == ["compile aotinductor"]
        assert [r.stage for r in work.store.records()] == ["compile", "deploy"]


@contextmanager
def freezing_of(folder: Path, mode: str, passes: bool, monkeypatch: Any) -> Iterator[Any]:
    """A campaign whose only generation is TorchScript, and a free energy's store below it."""

    def proof(work: Work, generation: Generation, probes: Any) -> Task:
        def read(finished: Finished) -> Outputs:
            if not passes:
                raise GateFailed("generation 0 failed its gate")
            return {"of": generation.stamp.mode}

        job = lambda place: Job("prove", ("prove",), place)  # noqa: E731
        return Task("prove 0", "prove", 0, generation.checkpoint_hash, "prove", job, read)

    def play(job: Job) -> int:
        return 0 if job.name == "prove" else compiler()(job)

    monkeypatch.setattr(refit.evaluate, "proof_task", proof)
    monkeypatch.setattr(refit.evaluate, "probes_for", lambda *_: None)
    monkeypatch.setattr(forms, "network", lambda work: NETWORK)
    with at_work(folder, "torchscript", play) as work:
        outputs = {**trained(work, "0"), "generation": "0", "epochs": 80}
        work.store.append(whole(Record("train generation 0", "train", 0, "", outputs, 0.0, 0.0)))
        made = generation(work, 0)
        campaign = inputs.load(write_campaign(folder, CAMPAIGN.replace("MODE", mode)))
        seconds = {"generation": "0", "seconds_per_step": 0.1}
        work.store.append(whole(Record("evaluate 0", "evaluate", 0, "", seconds, 0.0, 0.0)))
        work = replace(work, campaign=campaign)
        with closing(
            directory.open_campaign(work.store.root / "fes/gen-000", {"name": "salt"})
        ) as opened:
            yield work, replace(work, store=opened), made


def test_a_free_energy_walks_what_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten segments pay for a compilation; it is proved, and all that the campaign has stays."""
    with freezing_of(tmp_path / "a", "auto", True, monkeypatch) as (work, frozen, made):
        before = made.deployed.read_bytes(), len(work.store.records())
        found = refit.refit(work, frozen, made, 10)
        assert (found.stamp.mode, found.number, found.checkpoint) == (
            "aotinductor", 0, made.checkpoint,
        )  # fmt: skip
        assert found.deployed.read_bytes() == archive(CHECKPOINT)
        assert found.deployed.is_relative_to(frozen.store.root)
        assert [r.stage for r in frozen.store.records()] == ["compile", "deploy", "prove"]
        assert refit.refit(work, frozen, made, 3) == found  # asked for more: nothing anew
        assert len(frozen.store.records()) == 3
        assert (made.deployed.read_bytes(), len(work.store.records())) == before


def test_a_free_energy_swaps_into_a_compilation_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_work(tmp_path / "earlier") as work:
        generation(work, 0)
    with freezing_of(tmp_path / "a", "auto", True, monkeypatch) as (work, frozen, made):
        found = refit.refit(work, frozen, made, 1)  # one segment would not pay for the compiler
        assert found.stamp.mode == "aotinductor"
        assert [r.stage for r in frozen.store.records()] == ["deploy", "prove"]


@pytest.mark.parametrize(
    ("mode", "segments"), [("torchscript", 100), ("auto", 0), ("auto", 1)]
)  # asked for; nothing to walk; 100 s of steps against 60 of compiling and 40
def test_a_free_energy_keeps_what_does_not_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, segments: int
) -> None:
    with freezing_of(tmp_path / "a", mode, True, monkeypatch) as (work, frozen, made):
        if segments == 1:
            work.store.append(
                whole(
                    Record(
                        "evaluate 0",
                        "evaluate",
                        0,
                        "",
                        {"generation": "0", "seconds_per_step": 0.01},
                        0.0,
                        0.0,
                    )
                )
            )
        assert refit.refit(work, frozen, made, segments) is made
        assert frozen.store.records() == []


def test_a_model_that_fails_its_proof_walks_no_free_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with freezing_of(tmp_path / "a", "auto", False, monkeypatch) as (work, frozen, made):
        assert refit.refit(work, frozen, made, 10) is made
        assert "failed its gate" in work.observer.lines[-1]


def train_beside(work: Work, number: int, seconds: float = 20.0) -> Generation:
    """A generation as `learning` makes it: what is compiled ahead runs beside its training."""
    takes = {"train": seconds, "compile": 100.0}
    assert isinstance(work.launcher, FakeLauncher)
    work.launcher.takes = lambda job: takes.get(job.kind, 1.0)
    how = deploy.plan(work, number, str(number), NETWORK)
    for task in how.ahead:
        work.ahead(tasks.in_background(task), anew=True)
    training = Task(
        f"training {number}", "other", number, "", f"rounds/{number:03d}/train",
        lambda place: Job("train", ("train",), place, "train"), lambda finished: {},
    )  # fmt: skip
    work.do([training, *how.compilation])
    return deploy.deploy(work, number, str(number), trained(work, str(number)), how)


@contextmanager
def walking(folder: Path, step_s: float) -> Iterator[Work]:
    """Generation 0 runs with TorchScript, of which a step takes so long."""
    with at_work(folder, "auto", play=no_compiler_for_training) as work:
        generation(work, 0)
        outputs = {"generation": "0", "seconds_per_step": step_s}
        work.store.append(whole(Record("evaluate 0", "evaluate", 0, "", outputs, 0.0, 0.0)))
        yield work


def no_compiler_for_training(job: Job) -> int:
    return compiler()(job) if job.kind == "compile" else 0


def segment(work: Work, number: int, seconds: float) -> None:
    takes = {"segment": seconds, "compile": 100.0}
    work.launcher.takes = lambda job: takes[job.kind]  # type: ignore[attr-defined]
    task = Task(
        f"walk {number}", "other", number, "", f"rounds/{number:03d}/segment",
        lambda place: Job("walk", ("lmp",), place, "segment", ranks=2), lambda finished: {},
    )  # fmt: skip
    work.do([task])


def test_no_segment_waits_for_a_compilation_that_it_can_do_without(tmp_path: Path) -> None:
    with walking(tmp_path / "a", 0.045) as work:
        first = train_beside(work, 1)
        assert first.stamp.mode == "torchscript"
        assert "compile aotinductor" in started(work)
        assert not [r for r in work.store.records() if r.task.startswith("compile aotinductor")]
        segment(work, 2, 90.0)  # it has begun and ended before the compilation has
        second = train_beside(work, 2)
        assert second.stamp.mode == "aotinductor"
        assert started(work).count("compile aotinductor") == 1
        (made,) = (r for r in work.store.records() if r.task.startswith("compile aotinductor"))
        assert made.seconds == 100.0
        assert work.under_way._session is None


def test_a_long_segment_waits_for_the_faster_model(tmp_path: Path) -> None:
    """1000 steps of 0.2 s: 200 s now, or 60 s of compiling and 80 s."""
    with walking(tmp_path / "a", 0.2) as work:
        assert train_beside(work, 1).stamp.mode == "aotinductor"


def test_a_compilation_ahead_that_a_kill_has_ended_is_begun_again(tmp_path: Path) -> None:
    with walking(tmp_path / "a", 0.045) as work:
        how = deploy.plan(work, 1, "1", NETWORK)
        (task,) = how.ahead
        (work.store.root / task.place).mkdir(parents=True)
        assert train_beside(work, 1).stamp.mode == "torchscript"
        assert work.under_way.place(task.name)
        assert (work.store.root / f"{task.place}.interrupted-1").is_dir()
        work.under_way.close()
        (work.store.root / task.place / "finished.json").touch()  # now as if it had ended
        assert deploy.plan(work, 1, "1", NETWORK).ahead == ()


def test_auto_goes_on_without_a_compilation_that_failed(tmp_path: Path) -> None:
    """TorchScript is used, now and later; a user who asks for the other mode tries it again."""
    with walking(tmp_path / "a", 0.045) as work:
        train_beside(work, 1)
        work.launcher.play = lambda job: int(job.kind == "compile")  # type: ignore[attr-defined]
        segment(work, 2, 200.0)
        work.launcher.play = no_compiler_for_training  # type: ignore[attr-defined]
        assert train_beside(work, 2).stamp.mode == "torchscript"
        said = [line for line in work.observer.lines if "deploy.mode: aotinductor tries" in line]  # type: ignore[attr-defined]
        assert len(said) == 1
        assert "compile aotinductor ended with code 1" in said[0]
        assert "compile-aotinductor.failed-1" in said[0]  # where its files are
        assert train_beside(work, 3).stamp.mode == "torchscript"
        assert started(work).count("compile aotinductor") == 1
        assert work.under_way._session is None
        chosen = work.campaign.settings.deploy.model_copy(update={"mode": "aotinductor"})
        settings = work.campaign.settings.model_copy(update={"deploy": chosen})
        asked = replace(work, campaign=replace(work.campaign, settings=settings))
        assert generation(asked, 4).stamp.mode == "aotinductor"
        assert deploy.plan(work, 3, "3", NETWORK, again=True).mode == "aotinductor"
