"""What `phasewalk gate --ranks N` looks at before it starts anything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign, fake_engines
from helpers.elsewhere import GPU_NODE
from helpers.fakes import FakeLauncher, crystal
from phasewalk.checks import prove
from phasewalk.engines import Machine, here
from phasewalk.errors import InputError, ParseError
from phasewalk.files import file_hash
from phasewalk.models import model as models
from phasewalk.models import name_for_ranks
from phasewalk.producing import memory

NAME = "model.nequip.pth"
STAMP = models.Deployed(
    file=NAME, mode="torchscript", device="cpu", dtype="float32", types=("Cl", "Na"), r_max_A=4.0,
    torch="2.9.0", nequip="0.19.0", cpu="AVX512", processor="", seconds=45.0, checkpoint="a",
)  # fmt: skip


class Started(Exception):
    """A job was started."""


def play(_: Any) -> int:
    raise Started


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Both files, with stamps as `phasewalk deploy` writes them."""
    for name in (NAME, name_for_ranks(NAME)):
        file = tmp_path / name
        file.write_bytes(name.encode())
        write(file)
    return tmp_path / NAME


def write(file: Path, **changes: Any) -> None:
    stamp = replace(STAMP, file=file.name, **{"sha256": file_hash(file), **changes})
    file.with_name(f"{file.name}.json").write_text(models.stamp_text(stamp))


def gate(model: Path, count: int = 2, machine: Machine | None = None, **launcher: Any) -> None:
    folder = model.parent
    engines = replace(fake_engines.engines(folder), machine=machine or here())
    prove.prove(
        model, folder / "checkpoint.ckpt", frames=[crystal()], engines=engines,
        launcher=FakeLauncher(play, **launcher), place=folder / "place", count=count,
    )  # fmt: skip


def test_all_is_well(model: Path) -> None:
    with pytest.raises(Started):
        gate(model, walker_gpus=1)  # a model for processors needs none


def test_each_rank_needs_a_gpu(model: Path) -> None:
    for file in (model, model.with_name(name_for_ranks(NAME))):
        write(file, device="cuda")
    for gpus in (0, 1):
        with pytest.raises(InputError, match=f"--ranks 2: .* GPU .* has {gpus}; use at most 1"):
            gate(model, walker_gpus=gpus)
    for enough in (2, None):  # or not known
        with pytest.raises(Started):
            gate(model, walker_gpus=enough)


def test_without_a_stamp_a_gpu_is_used_if_there_is_one(model: Path) -> None:
    for file in (model, model.with_name(name_for_ranks(NAME))):
        file.with_name(f"{file.name}.json").unlink()
    with pytest.raises(InputError, match="--ranks 2: each needs a GPU of its own"):
        gate(model, machine=GPU_NODE, walker_gpus=1)
    with pytest.raises(Started):
        gate(model, machine=replace(GPU_NODE, has_gpu=False), walker_gpus=1)


def test_ranks_that_do_not_fit_into_the_memory(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free", lambda: 2.0)
    with pytest.raises(InputError, match=r"--ranks 9: .* 3.5 GB of memory, and 2.0 are free"):
        gate(model, 9)
    with pytest.raises(Started):
        gate(model, 9, here=False)  # another machine's is not known
    with pytest.raises(Started):
        gate(model, 4)


@pytest.mark.parametrize("name", [NAME, name_for_ranks(NAME)])
def test_a_file_that_is_not_that_of_its_stamp(model: Path, name: str) -> None:
    model.with_name(name).write_bytes(b"half of it")
    with pytest.raises(InputError, match=f"{name}: not the file of its stamp: damaged, or repl"):
        gate(model)


def test_a_campaign_s_file_for_several_ranks_that_is_damaged(tmp_path: Path) -> None:
    made = fake_campaign.make(tmp_path / "a", more="resources: {ranks_per_walker: 2}")
    made.run()
    model = made.root / "models/gen-001/torchscript-cpu" / NAME
    with pytest.raises(Started):
        gate(model)
    model.with_name(name_for_ranks(NAME)).write_bytes(b"half of it")
    with pytest.raises(ParseError, match="is not what the journal holds: damaged"):
        gate(model)


def test_a_file_for_several_ranks_of_another_checkpoint(model: Path) -> None:
    write(model.with_name(name_for_ranks(NAME)), checkpoint="b")
    with pytest.raises(InputError, match=r"exchange\.nequip\.pth: made from another checkpoint"):
        gate(model)
