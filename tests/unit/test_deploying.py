"""Deploying into an earlier compilation: whose it was decides how much of the gate is due."""

import io
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from helpers.fakes import Watcher, write_campaign
from phasewalk import config, deploying, engines, models, store, swap
from phasewalk.engines import EngineSettings
from phasewalk.models import Deployed
from phasewalk.tasks import Work

GRAPH = "graph"
OLD, NEW = np.arange(4.0), np.arange(4.0) + 10


def archive(weight: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("library.so", b"code" + weight.tobytes() + b"code")
    return stream.getvalue()


def trained(work: Work, name: str) -> dict[str, str]:
    stream = io.BytesIO()
    np.savez(stream, graph=GRAPH, w=NEW)
    work.store.write(f"{name}/weights.npz", stream.getvalue())
    work.store.write(f"{name}/checkpoint.ckpt", name.encode())
    return {
        "weights": f"{name}/weights.npz", "checkpoint": f"{name}/checkpoint.ckpt", "sha256": name
    }  # fmt: skip


def test_a_compilation_from_the_cache_is_proved_in_full_once(tmp_path: Path) -> None:
    text = "campaign: salt\nsystems:\n  salt: {structure: salt.extxyz, walkers: 2}\n"
    campaign = config.load(write_campaign(tmp_path, text + "deploy: {mode: aotinductor}\n"))
    found = replace(engines.find(EngineSettings(), {}), cache=tmp_path / "cache")
    with closing(store.open_campaign(tmp_path / "run", campaign.identity())) as opened:
        work = Work(campaign, opened, cast(Any, None), found, Watcher())
        stamp = Deployed(
            "model.nequip.pt2", "aotinductor", "cpu", "float32", ("Cl", "Na"), 4.0,
            found.versions["torch"], found.versions["nequip"], "any", 50.0,
        )  # fmt: skip
        place = deploying._cache(work, "aotinductor", GRAPH)
        place.mkdir(parents=True)
        (place / stamp.file).write_bytes(archive(OLD))
        (place / "stamp.json").write_text(models.stamp_text(stamp))
        template = swap.find_weights(archive(OLD), GRAPH, {"w": OLD})
        (place / deploying.TEMPLATE).write_text(swap.template_text(template))

        first = deploying.deploy(work, 0, "0", trained(work, "zero"))
        second = deploying.deploy(work, 1, "1", trained(work, "one"))
        assert first.unproved_graph
        assert not second.unproved_graph
        with zipfile.ZipFile(second.deployed) as made:
            assert NEW.tobytes() in made.read("library.so")
        assert deploying.deploy(work, 0, "0", trained(work, "zero")).unproved_graph  # on resume
