"""What is no longer so is not shown as if it were: models trained again, settings that changed."""

import io
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from helpers.recorded import RECORDED, rewrite
from phasewalk.errors import InputError, StoreError
from phasewalk.free_energies.free_energy import FreeEnergy, Variable
from phasewalk.production import freeze, lineage
from phasewalk.report import free_figures, methods, page, scatter
from phasewalk.status import history, summary
from phasewalk.status.history import History
from phasewalk.store import directory
from phasewalk.store.journal import SCHEMA
from phasewalk.store.records import Record

CHECKPOINTS = {
    r.outputs["generation"]: r.outputs["sha256"]
    for r in directory.read_campaign(RECORDED).records()
    if r.stage == "train"
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "copy.run"))


def leave(root: Path, generation: str = "final", *, place: str = "", **changed: Any) -> None:
    """A free energy, as `phasewalk fes` leaves it."""
    x = np.linspace(600.0, 800.0, 5)
    free = FreeEnergy(
        variables=(Variable("volume"),),
        centres=(x,),
        values=np.arange(5.0),
        errors=np.full(5, 0.5),
        from_hills=np.arange(5.0) + 0.1,
        temperature_K=300.0,
        frames=(100, 100),
        blocks=((4, 0.5),),
        opinions_differ=0.2,
    )
    told = {"generation": generation, "checkpoint": CHECKPOINTS[generation], "walkers": 2,
            "ps_per_walker": 10.0, "warnings": []}  # fmt: skip
    path = root / f"fes/{place or generation}/fes.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"mil53_al": {**free.as_dict(), **told, **changed}}))


def trained_again(records: Sequence[Record]) -> list[Record]:
    """Two labels more, and the final model trained again: its name is the same, nothing else."""
    found = list(records)
    train = next(r for r in records if r.task == "train generation final")
    found.remove(train)
    outputs = {**train.outputs, "sha256": "f" * 64, "training_labels": 50}
    return [*found, replace(train, outputs=outputs, round=5)]


def append_trained_again(root: Path) -> None:
    """As a run does it: a further line, and the former one stays in the file."""
    opened = directory.reopen_campaign(root)
    opened.append(trained_again(opened.records())[-1])
    opened.close()


def shown(found: History) -> str:
    (picture,) = free_figures.free_energies(found).pictures
    return f"{picture.svg()} {picture.says} {[row[0] for row in picture.rows]}"


def test_a_free_energy_of_the_present_model_is_current(copy: Path) -> None:
    leave(copy)
    found = history.read(copy)
    assert found.free_energies[0]["mil53_al"]["outdated"] == ""
    assert "generation final (48 labels)" in shown(found)
    assert "earlier" not in shown(found)


def test_free_energies_of_other_seeds_are_told_apart(copy: Path) -> None:
    leave(copy, made_from={"seed": 1})  # the campaign's
    leave(copy, place="final-seed-77", made_from={"seed": 77})
    found = history.read(copy)
    assert "seed" not in found.free_energies[0]["mil53_al"]
    assert "generation final (48 labels), seed 77" in shown(found)
    assert "seed 1" not in shown(found)


def test_a_free_energy_of_an_earlier_final_model_says_so(copy: Path) -> None:
    leave(copy)
    append_trained_again(copy)
    found = history.read(copy)
    (one,) = found.free_energies
    assert one["mil53_al"]["outdated"] == "of an earlier final model (48 labels)"
    assert "earlier generation final (48 labels)" in shown(found)
    assert "NOT of the present campaign" in shown(found)


def test_notebooks_get_it_only_where_they_ask(copy: Path) -> None:
    pytest.importorskip("pandas")
    from phasewalk import Campaign

    leave(copy)
    assert len(Campaign(copy).fes("final")) == 5
    append_trained_again(copy)
    with pytest.warns(UserWarning, match=r"earlier final model \(48 labels\) is omitted"):
        table = Campaign(copy).fes("final")
    assert len(table) == 0
    assert "free_energy_kJ_per_mol" in table.columns
    table = Campaign(copy).fes("final", earlier=True)
    assert set(table.outdated) == {"of an earlier final model (48 labels)"}
    assert set(table.labels) == {48}


def test_a_rewind_loses_the_former_record_but_not_the_doubt(copy: Path) -> None:
    leave(copy, made_from={"labels": 32})
    leave(copy, "4", checkpoint="0" * 64)
    rewrite(copy, trained_again)
    found = {one["mil53_al"]["generation"]: one["mil53_al"] for one in
             history.read(copy).free_energies}  # fmt: skip
    assert found["final"]["outdated"] == "of an earlier final model (32 labels)"
    assert found["4"]["outdated"] == "of an earlier generation 4"  # nobody knows its labels


def test_a_generation_that_is_gone(copy: Path) -> None:
    leave(copy)
    rewrite(copy, lambda records: [r for r in records if "generation final" not in r.task])
    (one,) = history.read(copy).free_energies
    assert one["mil53_al"]["outdated"] == "of a final model that the campaign no longer has"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1]", "not free energies of systems (it is [1], expected names with values)"),
        ('{"a": {}}', "a: not a free energy (generation is missing)"),
        ('{"a": {"generation": "0"}}', "a: not a free energy (temperature_K is missing)"),
    ],
)
def test_what_is_no_free_energy_is_named(copy: Path, text: str, fault: str) -> None:
    leave(copy)
    path = copy / "fes/final/fes.json"
    path.write_text(text)
    found = history.read(copy)
    assert (found.problems, list(found.free_energies)) == ([f"{path}: {fault}"], [])


def test_settings_of_the_walkers_that_have_changed(copy: Path) -> None:
    text = (copy / "campaign.yaml").read_text()
    settings = history.read(copy).settings
    assert settings is not None
    system = settings.systems["mil53_al"]
    lowered = (system.plumed or "").replace("HEIGHT=2", "HEIGHT=0.4")  # as `phasewalk fes` does
    walked = {"plumed": lowered, "ensemble": "npt", "temperature_K": 300.0, "pressure_MPa": 0.0}
    leave(copy)
    (copy / "fes/final/campaign.json").write_text(
        json.dumps(
            {"schema": SCHEMA, "name": "mil53_al", "deck": 2, "systems": {"mil53_al": walked}}
        )
    )
    assert history.read(copy).free_energies[0]["mil53_al"]["outdated"] == ""
    hotter = text.replace("temperature_K: 300            #", "temperature_K: 400            #")
    assert hotter != text
    (copy / "campaign.yaml").write_text(hotter)
    found = history.read(copy)
    assert "temperature_K 300.0 (now 400.0)" in found.free_energies[0]["mil53_al"]["outdated"]
    assert "NOT of the present campaign" in shown(found)
    other = text.replace("volume: VOLUME", "volume: CELL").replace("ARG=volume", "ARG=volume.ax")
    (copy / "campaign.yaml").write_text(other)
    assert "another PLUMED text" in history.read(copy).free_energies[0]["mil53_al"]["outdated"]


def test_errors_of_an_earlier_model_are_no_parity_of_the_present_one(copy: Path) -> None:
    """Both are called final, and each has its frames file."""
    assert any(p.name == "parity-forces-final" for p in scatter.parity(history.read(copy)).pictures)
    append_trained_again(copy)
    found = history.read(copy)
    assert not [one for one in found.comparisons if one.generation == "final"]
    assert not any("final" in picture.name for picture in scatter.parity(found).pictures)


def test_figures_say_of_what_they_are_and_former_ones_do_not_stay(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "sections", lambda found: [free_figures.free_energies(found)])
    leave(copy)
    folder = tmp_path / "figures"
    page.write_figures(history.read(copy), folder)
    made = json.loads((folder / "made-from.json").read_text())
    assert made["generations"]["final"] == {"checkpoint": CHECKPOINTS["final"], "labels": 48}
    assert made["journal"]["last"] == "end after round 4"
    svg = (folder / "free-energy-mil53-al.svg").read_text()
    assert "the last one is “end after round 4”" in svg
    (folder / "mine.pdf").write_text("not of the report")
    (folder / "free-energy-mil53-al.csv").write_text("changed by hand")
    shutil.rmtree(copy / "fes")
    page.write_figures(history.read(copy), folder)
    left = {path.name for path in folder.iterdir()}
    assert left == {"made-from.json", "mine.pdf", "free-energy-mil53-al.csv"}


def test_the_page_says_up_to_where_it_was_made(copy: Path) -> None:
    found = history.read(copy)
    assert (
        f"{len(found.records)} records of the journal; the last one is “end after round 4”"
        in page.page(replace(found, comparisons=(), traces=(), biases={}, trainings=()))
    )


def test_what_is_computed_with_a_model_names_it(copy: Path) -> None:
    records = directory.read_campaign(copy).records()
    told = lineage.made_from(records, "final", CHECKPOINTS["final"])
    assert (told["labels"], told["journal"]["records"]) == (48, len(records))
    assert lineage.made_from(records, "final", "0" * 64)["labels"] is None


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_segments_of_two_models_are_never_mixed(tmp_path: Path) -> None:
    """Another model alone is set aside; other settings are asked about, as before."""
    root, told = tmp_path / "fes/final", Told()
    work: Any = SimpleNamespace(observer=told)
    identity = {"name": "a", "generation": "final", "checkpoint": "1", "timestep_fs": 0.5}
    directory.open_campaign(root, identity).close()
    (root / "fes.json").write_text("{}")
    freeze._keep_apart(work, root, identity)
    assert root.is_dir()
    freeze._keep_apart(work, root, {**identity, "checkpoint": "2", "timestep_fs": 1.0})
    assert root.is_dir()
    with pytest.raises(InputError, match="other settings or another model"):
        freeze._check_same(root, {**identity, "checkpoint": "2", "timestep_fs": 1.0})
    with closing(directory.open_campaign(root, identity)), pytest.raises(StoreError):
        freeze._keep_apart(work, root, {**identity, "checkpoint": "2"})  # another works there
    freeze._keep_apart(work, root, {**identity, "checkpoint": "2"})
    assert not root.exists()
    assert (tmp_path / "fes/final.earlier-1/fes.json").is_file()
    assert "was trained again;" in told.lines[0]


def test_tables_without_rows_have_their_columns(copy: Path) -> None:
    pytest.importorskip("pandas")
    from phasewalk import Campaign

    whole = Campaign(copy)
    assert {"generation", "system", "free_energy_kJ_per_mol"} <= set(whole.fes().columns)
    names = ("learning_curve", "errors", "walkers", "walks", "timings")
    columns = {name: set(getattr(whole, name).columns) for name in names}
    rewrite(copy, lambda records: [])
    shutil.rmtree(copy / "labels")
    empty = Campaign(copy)
    for name in names:
        table = getattr(empty, name)
        assert len(table) == 0
        mine = {column for column in columns[name] if not column.startswith("colvar_")}
        assert set(table.columns) >= mine - {"volume", "metad.bias"}, name


def text_of(records: Sequence[Record], tmp_path: Path) -> str:
    """What `phasewalk status` prints."""
    console = Console(width=200, file=io.StringIO())
    root = Path(shutil.copytree(RECORDED, tmp_path / "status.run"))
    rewrite(root, lambda _: records)
    summary.show(summary.collect(root), console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_status_has_no_columns_that_nothing_fills(tmp_path: Path) -> None:
    records = directory.read_campaign(RECORDED).records()
    untested = [replace(r, outputs={**r.outputs, "test": None}) if r.stage == "evaluate" else r
                for r in records]  # fmt: skip
    text = text_of(untested, tmp_path)
    assert "test force MAE" not in text
    assert "RMSE" not in text
    assert "ms/step" in text
    first = [r for r in records if r.stage in ("versions", "label") and r.round == 0]
    text = text_of(first, tmp_path / "first")
    assert "force MAE" not in text  # nothing was measured
    assert "pressure" not in text
    assert "labels" in text


def test_the_methods_tell_of_no_free_energy_of_an_earlier_model(copy: Path) -> None:
    leave(copy)
    assert "[@tiwary2015]" in methods.text(history.read(copy))
    append_trained_again(copy)
    text = methods.text(history.read(copy))
    assert "tiwary2015" not in text
    assert "all 50 labels" in text
