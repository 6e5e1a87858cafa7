"""`phasewalk deploy`: weights into a compilation that is there, else a compiler that is watched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.elsewhere import answer, asks
from helpers.fakes import FakeLauncher
from phasewalk import files
from phasewalk.checks import deployment
from phasewalk.engines import here, shared_code
from phasewalk.engines.discovery import EngineSettings
from phasewalk.engines.machine import RESULT
from phasewalk.errors import EngineFailed
from phasewalk.jobs import Finished, Job
from phasewalk.models import model as models
from phasewalk.models import swap, training_config
from phasewalk.models.model import Deployed

GRAPH, OLD, NEW = "graph", np.arange(4.0), np.arange(4.0) + 10


def stamp(mode: str = "aotinductor", device: str = "cpu", *, for_ranks: bool = False) -> Deployed:
    file = f"model{models.ending(mode, for_ranks=for_ranks)}"
    return Deployed(
        file, mode, device, "float32", ("Cl", "Na"), 4.0, here().torch, "0.19", "any",
        here().processor, 50.0,
    )  # fmt: skip


def archive(weights: np.ndarray) -> bytes:
    import io
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr(zipfile.ZipInfo("library.so"), b"code" + weights.tobytes())
    return stream.getvalue()


def compiled(
    folder: Path, graph: str = GRAPH, device: str = "cpu", *, for_ranks: bool = False
) -> None:
    """A compilation as a campaign keeps it."""
    content, made = archive(OLD), stamp(device=device, for_ranks=for_ranks)
    template = swap.find_weights(content, graph, {"w": OLD})
    files = {
        made.file: content,
        "stamp.json": models.stamp_text(made).encode(),
        "template.json": swap.template_text(template).encode(),
    }
    folder.mkdir(parents=True)
    shared_code.put(folder, files)


def target_of(job: Job) -> str:
    return job.argv[job.argv.index("--target") + 1]


def play(job: Job) -> int:
    """The child process: it reads the checkpoint's weights, or compiles."""
    if "--weights" in job.argv:
        np.savez(job.directory / training_config.WEIGHTS, graph=GRAPH, w=NEW)
        return 0
    mode = job.argv[job.argv.index("--mode") + 1]
    made = stamp(mode)
    (job.directory / made.file).write_bytes(b"compiled for " + target_of(job).encode())
    (job.directory / "stamp.json").write_text(models.stamp_text(made))
    return 0


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """A campaign's checkpoint."""
    path = tmp_path / "my.run/models/gen-001/checkpoint.ckpt"
    files.write_file(path, b"weights")
    return path


def deploy(
    checkpoint: Path, tmp_path: Path, *, trusted: bool = True, **changes: str
) -> tuple[bytes, str, list[str], list[str]]:
    """What was written, how, what was started, and what was told meanwhile."""
    asked = {"mode": "aotinductor", "device": "cpu", "target": "lammps", **changes}
    ranks = asked["target"] == "ranks"
    output = tmp_path / ("my.exchange.nequip.pt2" if ranks else "my.nequip.pt2")
    told, launcher = list[str](), FakeLauncher(play)
    made, how = deployment.deploy(
        checkpoint, output, launcher=launcher, cache=tmp_path / "cache",
        place=tmp_path / "scratch", trusted=trusted, show=told.append, **asked,
    )  # fmt: skip
    written = models.read_stamp(output.with_name(f"{output.name}.json"))
    assert written == made
    assert (made.file, made.checkpoint) == (output.name, files.file_hash(checkpoint))
    assert made.sha256 == files.file_hash(output)
    kinds = ["weights" if "--weights" in job.argv else target_of(job) for job in launcher.jobs]
    return output.read_bytes(), how, kinds, told


@pytest.mark.parametrize("place", ["my.run/models/compiled/abc", "cache/models/abc"])
def test_weights_go_into_what_was_compiled(campaign: Path, tmp_path: Path, place: str) -> None:
    compiled(tmp_path / place)
    content, how, started, told = deploy(campaign, tmp_path)
    assert content == archive(NEW)
    assert how == f"weights replaced in the compilation in {tmp_path / place}"
    assert started == ["weights"]
    assert told[0] == "reading the checkpoint …"


@pytest.mark.parametrize(
    ("graph", "device", "changes"),
    [
        ("another", "cpu", {}),
        (GRAPH, "cuda", {}),  # a compilation that this machine, or this device, cannot run
        (GRAPH, "cpu", {"target": "ase"}),  # compiled for another reader
        (GRAPH, "cpu", {"target": "ranks"}),
        (GRAPH, "cpu", {"mode": "torchscript"}),  # as fast as a swap
    ],
)
def test_else_it_is_compiled(
    campaign: Path, tmp_path: Path, graph: str, device: str, changes: dict[str, str]
) -> None:
    compiled(tmp_path / "cache/models/abc", graph, device)
    content, how, started, told = deploy(campaign, tmp_path, **changes)
    assert content == b"compiled for " + changes.get("target", "lammps").encode()
    assert how.startswith("compiled in ")
    assert started[-1] == changes.get("target", "lammps")
    assert told[-1].startswith(f"compiling ({changes.get('mode', 'aotinductor')}, ")


def test_weights_go_into_what_was_compiled_for_several_ranks(
    campaign: Path, tmp_path: Path
) -> None:
    compiled(tmp_path / "cache/models/abc", for_ranks=True)
    content, how, started, _ = deploy(campaign, tmp_path, target="ranks")
    assert (content, started) == (archive(NEW), ["weights"])
    assert how.startswith("weights replaced")
    other, _, _, _ = deploy(campaign, tmp_path)  # never into one for one rank
    assert other == b"compiled for lammps"


@pytest.mark.parametrize(
    ("changes", "swapped"),
    [({}, True), ({"processor": ""}, False), ({"versions": {"torch": "1.0"}}, False)],
)
def test_a_compilation_must_fit_where_the_jobs_run(
    campaign: Path, tmp_path: Path, changes: dict[str, Any], swapped: bool
) -> None:
    """Not this process's machine; it is asked only if there is a compilation."""
    answered = answer(replace(here(), host="node7"), **changes)

    def play_there(job: Job) -> int:
        if not asks(job):
            return play(job)
        (job.directory / RESULT).write_text(answered)
        return 0

    def made(folder: Path) -> list[bool]:
        launcher = FakeLauncher(play_there, here=False)
        deployment.deploy(
            campaign, folder / "my.nequip.pt2", mode="aotinductor", device="cpu",
            target="lammps", launcher=launcher, cache=tmp_path / "cache",
            place=folder / "scratch", trusted=False, show=lambda line: None,
        )  # fmt: skip
        return [asks(job) for job in launcher.jobs]

    assert made(tmp_path / "none") == [False]
    compiled(tmp_path / "cache/models/abc")
    assert made(tmp_path / "one") == [True, False]
    content = (tmp_path / "one/my.nequip.pt2").read_bytes()
    assert (content == archive(NEW)) is swapped


def test_a_damaged_compilation_is_passed_over(campaign: Path, tmp_path: Path) -> None:
    compiled(tmp_path / "my.run/models/compiled/abc")
    (tmp_path / "my.run/models/compiled/abc/model.nequip.pt2").write_bytes(archive(OLD + 1))
    content, _, _, told = deploy(campaign, tmp_path)
    assert content == b"compiled for lammps"
    assert any("not used (the deployed model is damaged" in line for line in told)


def test_what_is_not_trusted_is_compiled(campaign: Path, tmp_path: Path) -> None:
    """A compilation is code: somebody else's campaign directory may hold any."""
    compiled(tmp_path / "my.run/models/compiled/abc")
    content, _, started, _ = deploy(campaign, tmp_path, trusted=False)
    assert (content, started) == (b"compiled for lammps", ["lammps"])


def test_a_compiler_that_fails_says_why(campaign: Path, tmp_path: Path) -> None:
    def fail(job: Job) -> int:
        (job.directory / Finished.STDERR).write_text("c++: no memory\n")
        return 1

    with pytest.raises(EngineFailed, match="no memory"):
        deployment.deploy(
            campaign, tmp_path / "x.nequip.pth", mode="torchscript", device="cpu", target="lammps",
            launcher=FakeLauncher(fail), cache=tmp_path, place=tmp_path / "y",
            trusted=True, show=print,
        )  # fmt: skip
    assert not (tmp_path / "x.nequip.pth").exists()


def test_how_a_model_is_used(tmp_path: Path) -> None:
    library = tmp_path / "plugin/phasewalkplugin.so"
    files.write_file(library, b"")
    settings = EngineSettings(plugin=str(library))
    model = tmp_path / "model.nequip.pth"
    assert deployment.in_lammps(model, ["Cl", "Na"], settings, {}) == [
        f"export LAMMPS_PLUGIN_PATH={library.parent}",
        "pair_style nequip",
        f"pair_coeff * * {model} Cl Na",
    ]
    nothing = deployment.in_lammps(model, ["Cl"], EngineSettings(lammps="/no/lmp"), {})
    assert nothing[0].startswith("phasewalk build-plugin")
