"""Where a campaign stands, from a journal that the real store has written."""

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from helpers.fakes import ROOT
from helpers.outputs import whole
from phasewalk import moment
from phasewalk.commands import view
from phasewalk.errors import InputError, ParseError, StoreError
from phasewalk.moment import JobNow, Now, WalkerNow
from phasewalk.onsite import at_site
from phasewalk.status import summary
from phasewalk.store import directory
from phasewalk.store.directory import Store
from phasewalk.store.records import FAILED, Record
from phasewalk.where import Pool, Where, to_json


def errors(force: float, frames: int = 2) -> dict[str, Any]:
    return {
        "frames": frames,
        "energy_offset_meV_per_atom": -3.25,
        "energy_offsets_meV_per_atom": {"ClNa": -3.25},
        "energy_mae_meV_per_atom": 4.0,
        "energy_rmse_meV_per_atom": 5.0,
        "energy_scatter_meV_per_atom": 1.25,
        "force_mae_meV_per_A": force,
        "force_rmse_meV_per_A": 1.4 * force,
        "force_rms_meV_per_A": 1234.0,
        "pressure_mae_GPa": 0.21,
        "pressure_rmse_GPa": 0.3,
        "stress_mae_GPa": 0.4,
        "stress_rmse_GPa": 0.5,
    }


def train(opened: Store, round_: int, name: str) -> None:
    add(
        opened,
        f"train generation {name}",
        "train",
        round_,
        generation=name,
        training_labels=6,
        validation_labels=2,
        epochs=20,
        checkpoint=f"models/{name}/checkpoint.ckpt",
        last_epoch={"epoch": 20, "at": 1e9 - 2.5},
    )


def deploy(opened: Store, round_: int, name: str) -> None:
    add(
        opened,
        f"deploy generation {name}",
        "deploy",
        round_,
        generation=name,
        file=f"models/{name}/model.nequip.pth",
        mode="torchscript",
    )


def evaluate(opened: Store, round_: int, name: str, new: Any, test: Any) -> None:
    title = f"evaluate generation {name} on round {round_}"
    add(
        opened,
        title,
        "evaluate",
        round_,
        generation=name,
        new=new,
        test=test,
        seconds_per_step=0.0042,
        **({} if new is None and test is None else {"proof": {"checks": 9, "warnings": []}}),
    )


def add(opened: Store, task: str, stage: str, round_: int, **outputs: Any) -> None:
    opened.append(whole(Record(task, stage, round_, "x", outputs, 1.5, 1e9)))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    """A bootstrap and one round, in the middle of its end."""
    with closing(directory.open_campaign(tmp_path / "run", {"name": "salt"})) as found:
        add(found, "bootstrap", "bootstrap", 0, frames=3)
        add(found, "label a", "label", 0, key="a")
        add(found, "label b", "label", 0, key="b")
        add(found, "label c", "label", 0, **{FAILED: "no convergence"})
        train(found, 0, "0")
        deploy(found, 0, "0")
        evaluate(found, 0, "0", None, errors(300))
        hills = {"deposited": 40, "expected": 40, "in_record": 40, "active": 38, "total": 40}
        walkers = [
            {"walker": "salt-0", "steps_done": 400, "halted": None, "stop": None},
            {
                "walker": "salt-1",
                "steps_done": 35,
                "halted": "a force",
                "stop": {"reason": "force"},
            },
        ]
        add(found, "segment 1", "segment", 1, generation=0, walkers=walkers, hills={"salt": hills})
        add(found, "label d", "label", 1, key="d")
        evaluate(found, 1, "0", errors(250), None)
        train(found, 1, "1")
        deploy(found, 1, "1")
        evaluate(found, 1, "1", errors(120), errors(150))
        yield found


def end(opened: Store, round_: int) -> None:
    add(opened, f"end after round {round_}", "end", round_)


def test_everything_is_in_the_json(opened: Store) -> None:
    state = summary.collect(opened.root)
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert (state["campaign"], state["running"], state["finished"]) == ("salt", True, False)
    none = {"initial": 0, "added": 0, "added_from": {"free energy": 0, "production": 0}}
    assert state["labels"] == {"done": 3, "failed": 1, **none}
    assert state["seconds"] == {
        "bootstrap": 1.5,
        "label": 6.0,
        "train": 3.0,
        "deploy": 3.0,
        "evaluate": 4.5,
        "segment": 1.5,
    }
    zero, one = state["generations"]
    assert (zero["generation"], one["generation"]) == ("0", "1")
    assert zero["test"]["force_mae_meV_per_A"] == 300
    assert one["test"]["force_mae_meV_per_A"] == 150
    assert one["proved_after_seconds"] == 2.5
    assert (one["mode"], one["ms_per_step"], one["epochs"]) == ("torchscript", 4.2, 20)


def doing(at: float) -> Now:
    row = WalkerNow("salt-0", 120, 400, 0.06, 301.5, 179.25, {"vol": 0.17925}, 0.91)
    return Now(2, 4, "segment", 120, 400, "steps", "", at - 12, at, 83.4, 0.0123,
               "rounds/002/segment", (row,))  # fmt: skip


def test_what_it_does_now_where_it_runs(opened: Store) -> None:
    assert summary.collect(opened.root)["now"] is None
    found = doing(time.time())
    opened.write(moment.FILE, moment.to_text(found).encode())
    state = summary.collect(opened.root)
    assert {**state["now"], "site": None} == moment.to_json(found)
    assert state["site"] is None
    text = shown(json.loads(json.dumps(state)))
    assert "round 2 of 4: segment  12 s, about 1 min 23 s left" in text
    assert text.index("salt-0") < text.index("Generations")
    opened.close()
    assert summary.collect(opened.root)["now"] is None


@pytest.mark.parametrize("content", [b"{", b"null", moment.to_text(doing(1e9)).encode()])
def test_what_it_does_now_may_be_unknown(opened: Store, content: bytes) -> None:
    opened.write(moment.FILE, content)
    assert summary.collect(opened.root)["now"] is None
    shown(summary.collect(opened.root))


def on_a_site() -> list[Record]:
    """A job in an allocation."""
    where = Where("label", "cpu", "5", "n1", 4, 0, 900.0, 1000.0, Pool("5", 1, 8, began=1000.0))
    return [Record("label a", "label", 0, "", {}, 900.0, 1900.0, 4, to_json(where))]


def test_a_stopped_campaign_shows_what_it_has_cost_on_a_site(opened: Store) -> None:
    for record in on_a_site():
        opened.append(whole(record))
    text = " ".join(shown(summary.collect(opened.root)).split())
    assert "work queued running done queue, mean longest core-h label 0 0 1 1 min 40 s" in text
    assert "Cost by partition" in text
    assert "Allocations" in text
    assert "left in the queue" not in text


def test_every_key_is_documented(opened: Store) -> None:
    text = (ROOT / "docs/status-json.md").read_text()
    opened.write(moment.FILE, moment.to_text(doing(time.time())).encode())
    state = summary.collect(opened.root)
    keys = {*state, *state["labels"], *state["cost"], *state["cost"]["labels"], *errors(1.0)}
    for name in ("generations", "rounds"):
        keys |= {key for entry in state[name] for key in entry}
    keys |= {*state["now"], *state["now"]["rows"][0], moment.FORCE_MAE}
    site = at_site.collect(opened.root, on_a_site(), None, 2000.0)
    assert site is not None
    keys |= {*site, *site["work"][0], *site["partitions"][0], *site["allocations"][0]}
    keys |= {*asdict(JobNow("x", True, "", 0.0, "", Where())), *asdict(Where()), *asdict(Pool())}
    missing = {key for key in keys if not re.search(rf"[`.]{key}`", text)}
    assert missing == set()


@pytest.fixture
def watched(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[float], str]]:
    """`status --watch` of a campaign to which something happens at each look."""

    def watch(
        happens: list[Callable[[], None]], *, as_json: bool = False, terminal: bool = False
    ) -> tuple[list[float], str]:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            happens[len(slept) - 1]()

        console = Console(file=io.StringIO(), width=100, force_terminal=terminal, highlight=False)
        monkeypatch.setattr(view, "out", console)
        monkeypatch.setattr(view.time, "sleep", sleep)
        view.show_status(opened.root, as_json, watch=True)
        assert isinstance(console.file, io.StringIO)
        return slept, console.file.getvalue()

    return watch


def tell(opened: Store, **changes: Any) -> None:
    told = replace(doing(time.time()), **{"began": 1e9, **changes})
    opened.write(moment.FILE, moment.to_text(told).encode())


def interrupt() -> None:
    raise KeyboardInterrupt


def test_watching_in_lines_what_has_changed(opened: Store, watched: Any) -> None:
    tell(opened)
    happens = [lambda: tell(opened), lambda: tell(opened, done=200), opened.close]
    slept, text = watched(happens)
    assert slept == [2.0] * 3
    heads = [line for line in text.splitlines() if line.startswith("round 2 of 4")]
    assert ["120 of" in line for line in heads] == [True, False]
    assert text.count("  salt-0, step 120 of 400, 0.060 ps") == 2
    assert text.count("Generations") == 1
    assert "campaign salt: stopped" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_watching_ends_cleanly_with_ctrl_c(opened: Store, watched: Any, terminal: bool) -> None:
    tell(opened)
    _, text = watched([interrupt], terminal=terminal)
    assert "salt-0" in text


def test_watching_on_a_terminal(opened: Store, watched: Any) -> None:
    tell(opened)
    _, text = watched([lambda: tell(opened, done=200), opened.close], terminal=True)
    assert "120 of 400 steps" in text
    assert "200 of 400 steps" in text
    last = text[text.rindex("campaign") :]
    assert last.startswith("campaign salt: stopped")
    assert "Generations" in last


def test_watching_as_json(opened: Store, watched: Any, capsys: pytest.CaptureFixture[str]) -> None:
    tell(opened)
    happens = [lambda: tell(opened), lambda: tell(opened, done=200), opened.close]
    watched(happens, as_json=True)
    states = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [state["now"] and state["now"]["done"] for state in states] == [120, 200, None]
    assert not states[-1]["running"]


def test_each_round_has_its_errors_before_and_after_learning(opened: Store) -> None:
    bootstrap, first = summary.collect(opened.root)["rounds"]
    assert (bootstrap["round"], bootstrap["labels"]) == (0, 2)
    assert bootstrap["failed_labels"] == ["no convergence"]
    assert "before_learning" not in bootstrap
    assert (first["labels"], first["walkers"][0]["steps_done"]) == (1, 400)
    assert first["hills"]["salt"]["deposited"] == 40
    assert first["before_learning"]["generation"] == "0"
    assert first["before_learning"]["force_mae_meV_per_A"] == 250
    assert first["after_learning"]["generation"] == "1"
    assert first["after_learning"]["force_mae_meV_per_A"] == 120
    assert first["seconds"]["segment"] == 1.5


def test_running_stopped_finished(opened: Store) -> None:
    def state() -> tuple[bool, bool]:
        found = summary.collect(opened.root)
        return found["running"], found["finished"]

    assert state() == (True, False)
    opened.close()
    assert state() == (False, False)
    end(opened, 1)
    assert state() == (False, True)
    add(opened, "segment 2", "segment", 2, generation=1, walkers=[], hills={})  # more rounds wanted
    assert state() == (False, False)
    end(opened, 2)
    assert state() == (False, True)


def test_a_new_campaign_and_one_that_has_only_labels(tmp_path: Path) -> None:
    with closing(directory.open_campaign(tmp_path / "run", {"name": "x"})) as found:
        state = summary.collect(found.root)
        assert (state["generations"], state["labels"]["done"]) == ([], 0)
        shown(state)
        add(found, "label a", "label", 0, key="a")
        shown(summary.collect(found.root))


def test_a_final_model_that_is_being_made_again(opened: Store) -> None:
    """More rounds after the end: the final model is trained again, and only then deployed."""
    train(opened, 1, "final")
    deploy(opened, 1, "final")
    end(opened, 1)
    train(opened, 2, "2")
    deploy(opened, 2, "2")
    train(opened, 2, "final")
    names = [entry["generation"] for entry in summary.collect(opened.root)["generations"]]
    assert names == ["0", "1", "2", "final"]
    assert summary.deployed_model(opened.root, None).parent.name == "2"
    deploy(opened, 2, "final")
    assert summary.deployed_model(opened.root, None).parent.name == "final"


def shown(state: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    summary.show(state, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_for_people(opened: Store) -> None:
    text = shown(summary.collect(opened.root))
    assert "campaign salt: running; 3 labels, 1 failed" in text
    assert "250 → 120" in text
    assert (
        "hills deposited 40, expected 40, in the record 40 (active at the end of the segment: 38)"
        in text
    )
    opened.close()
    assert "salt: stopped" in shown(summary.collect(opened.root))
    end(opened, 1)
    assert "salt: finished" in shown(summary.collect(opened.root))


def test_errors_for_people() -> None:
    console = Console(file=io.StringIO(), width=200)
    summary.show_errors("my model", errors(99.5), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "my model on 2 frames" in text
    assert "99.5" in text
    assert "common offset of ClNa -3.25 meV/atom" in text
    assert "scatter after subtracting the offset 1.25 meV/atom" in text


def test_the_deployed_model_of_a_generation(opened: Store) -> None:
    assert summary.deployed_model(opened.root, None) == opened.root / "models/1/model.nequip.pth"
    assert summary.deployed_model(opened.root, "0").parent.name == "0"
    with pytest.raises(InputError, match="--generation 7: not found; the campaign has 0, 1"):
        summary.deployed_model(opened.root, "7")


def test_both_forms_of_the_last_model_the_fast_one_first(opened: Store) -> None:
    def listed() -> list[tuple[str, float | None]]:
        forms = summary.collect(opened.root)["deployed_models"]
        return [(one["file"], one["ms_per_step"]) for one in forms]

    assert listed() == [("models/1/model.nequip.pth", 4.2)]
    fast: dict[str, Any] = {
        "file": "models/1/model.nequip.pt2",
        "mode": "aotinductor",
        "seconds_per_step": 0.002,
    }
    trained = opened.find("train generation 1")
    assert trained is not None
    fast["stamp"] = {"checkpoint": trained.outputs["sha256"]}
    add(opened, "other form of generation 1", "form", 1, generation="1", **fast)
    assert listed() == [("models/1/model.nequip.pt2", 2.0), ("models/1/model.nequip.pth", 4.2)]
    train(opened, 2, "2")
    deploy(opened, 2, "2")
    assert listed() == [("models/2/model.nequip.pth", None)]


def test_no_deployed_model_yet(tmp_path: Path) -> None:
    with closing(directory.open_campaign(tmp_path / "run", {"name": "x"})) as found:
        train(found, 0, "0")
        with pytest.raises(StoreError, match="no deployed generation yet"):
            summary.deployed_model(found.root, None)


def test_what_is_no_campaign(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a campaign directory"):
        summary.collect(tmp_path)


def test_a_corrupt_journal(opened: Store) -> None:
    (opened.root / directory.JOURNAL).write_text("x\n")
    with pytest.raises(ParseError, match="line 1"):
        summary.collect(opened.root)


def test_what_stopped_walkers_and_where_they_began(opened: Store) -> None:
    begun = [
        {"walker": f"salt-{i}", "source": s, "why": ""}
        for i, s in enumerate(["good", "start", "start"])
    ]
    add(opened, "walkers of round 1", "steer", 1, walkers=begun)
    first = summary.collect(opened.root)["rounds"][1]
    assert first["decisions"] == begun
    expected = "1 from a good frame, 2 from the start structure; 1 of 2 stopped early (force 1)"
    assert summary._walkers(first) == expected
    console = Console(width=200, record=True)
    summary.show(summary.collect(opened.root), console)
    assert f"round 1: {expected}" in console.export_text()
