"""A checkpoint from somewhere: nothing in it runs, and only a network is built of it."""

import copy
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from phasewalk.models.checkpoints import COPY, Refused, copied

torch = pytest.importorskip("torch")

PLAIN: dict[str, Any] = {
    "state_dict": {"w": torch.ones(3)},
    "hyper_parameters": {
        "model": {
            "_target_": "nequip.model.NequIPGNNModel",
            "pair_potential": {"_target_": "nequip.nn.pair_potential.ZBL"},
        },
        "loss": {"_target_": "nequip.train.EnergyForceStressLoss"},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "info_dict": {
            "training_module": {"_target_": "nequip.train.EMALightningModule"},
            "trainer": {"_target_": "lightning.Trainer"},  # not built
        },
    },
}


class Evil:
    """What a pickle may hold: a call."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def saved(path: Path, data: Any) -> Path:
    torch.save(data, path)
    return path


def test_a_plain_one_is_copied_as_it_is(tmp_path: Path) -> None:
    found = copied(saved(tmp_path / "a.ckpt", PLAIN), tmp_path)
    assert found == tmp_path / COPY
    data = torch.load(found, weights_only=True)
    assert data["hyper_parameters"] == PLAIN["hyper_parameters"]
    assert torch.equal(data["state_dict"]["w"], torch.ones(3))


def test_a_call_in_the_pickle_is_not_made(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = saved(tmp_path / "a.ckpt", {**PLAIN, "callbacks": Evil(mark)})
    with pytest.raises(Refused, match=r"it contains posix\.system, which is code"):
        copied(path, tmp_path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # what NequIP itself would have done
    assert mark.exists()


def test_an_old_pickle_is_not_read_either(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "a.ckpt"
    path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(Refused):
        copied(path, tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("where", "target", "said"),
    [
        (("model", "_target_"), "os.system", "not part of a network"),
        (("model", "_target_"), "nequip.model.saved_models.load_utils.requests.get", "not part"),
        (("model", "_target_"), "nequip.train.lightning.Popen", "not part of a network"),
        (("model", "pair_potential", "_target_"), "builtins.exec", "not part of a network"),
        (("info_dict", "training_module", "_target_"), "evil.Module", "not part of a network"),
        (("model", "_target_"), "nequip.model.ModelFromPackage", "loads another file"),
        (("model", "_target_"), "nequip.model.ModelFromCheckpoint", "loads another file"),
        (("optimizer", "lr"), "${oc.env:SECRET}", "to be evaluated"),
    ],
)
def test_only_parts_of_a_network_are_built(
    tmp_path: Path, where: tuple[str, ...], target: str, said: str
) -> None:
    data = copy.deepcopy(PLAIN)
    place = data["hyper_parameters"]
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = target
    with pytest.raises(Refused, match=said):
        copied(saved(tmp_path / "a.ckpt", data), tmp_path)


@pytest.mark.parametrize("data", [{}, [], None, {"hyper_parameters": {"info_dict": 3}}])
def test_what_is_no_checkpoint_of_nequip_is_said(tmp_path: Path, data: Any) -> None:
    with pytest.raises(Refused, match="not a checkpoint of nequip-train"):
        copied(saved(tmp_path / "a.ckpt", data), tmp_path)


def test_rubbish_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"")
    with pytest.raises(Refused, match="it is damaged, or contains more than weights"):
        copied(path, tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "no model")
    with pytest.raises(Refused):
        copied(path, tmp_path)
