"""Whatever files hold is shown as text; a terminal that goes away, or knows no Å, ends nothing."""

import ast
import io
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from helpers.recorded import RECORDED
from phasewalk.commands import signals, terminal
from phasewalk.commands.terminal import Terminal
from phasewalk.status import summary

PACKAGE = Path(terminal.__file__).parent
EVIL = "[/red]\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egnp.exe [bold]Å"


def shown(*what: object) -> str:
    paper = io.StringIO()
    console = Terminal(file=paper, width=200, force_terminal=True)
    for one in what:
        console.print(one)
    return paper.getvalue()


def test_markup_and_control_sequences_are_text() -> None:
    table = Table(title=EVIL, caption=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    found = shown(EVIL, table)
    assert found.count("[/red]") == 5
    assert not {"\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e"} & {
        *(found[i : i + n] for n in (1, 2, 4) for i in range(len(found)))
    }


def test_a_campaign_with_such_a_name_is_shown(tmp_path: Path) -> None:
    root = tmp_path / "evil.run"
    shutil.copytree(RECORDED, root)
    path = root / "campaign.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": EVIL}))
    paper = io.StringIO()
    summary.show(summary.collect(root), Terminal(file=paper, width=200))
    assert paper.getvalue().startswith("campaign [/red]")
    assert "\x1b" not in paper.getvalue()


def test_no_other_console_prints() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.stem == "terminal":
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = [n.func.id for n in calls if isinstance(n.func, ast.Name)]
        assert "Console" not in names, path.name


def _without_encoding(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    named = {keyword.arg for keyword in call.keywords}
    if call.func.attr in ("read_text", "write_text"):
        return "encoding" not in named
    mode = next((a.value for a in call.args if isinstance(a, ast.Constant)), "r")
    other = ast.unparse(call.func.value) in ("os", "Image")
    text = call.func.attr == "open" and not other and "b" not in str(mode)
    return text and "encoding" not in named


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_every_text_file_has_its_encoding(path: Path) -> None:
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert [ast.unparse(n) for n in calls if _without_encoding(n)] == []


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])
def test_a_locale_that_is_not_utf8_ends_nothing(encoding: str) -> None:
    env = {
        **os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "phasewalk.commands.cli", "status", str(RECORDED)],
        env=env, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("meV/Å" if encoding != "ascii" else "meV/?") in done.stdout.decode(encoding)


_LOST = """
import fcntl, sys, termios, time
from pathlib import Path
from phasewalk.commands import signals as stops
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
stops.listen()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("the last words", flush=True)
    Path(sys.argv[1]).write_text("ended cleanly")
    sys.exit(130)
"""


def test_a_lost_terminal_ends_it_as_ctrl_c_does(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    script, mark = tmp_path / "lost.py", tmp_path / "mark"
    script.write_text(_LOST)
    process = subprocess.Popen(
        [sys.executable, str(script), str(mark)],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    os.close(ours)
    assert process.wait(timeout=30) == 130
    assert mark.read_text() == "ended cleanly"


def test_nohup_is_obeyed() -> None:
    wanted = {signal.SIGHUP: signal.SIG_IGN, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, how) for number, how in wanted.items()}
    signals.listen()
    found = {number: signal.signal(number, how) for number, how in before.items()}
    assert found == {signal.SIGHUP: signal.SIG_IGN, signal.SIGTERM: signals.stop}


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_a_closed_stream_is_no_traceback(closed: str, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m phasewalk.commands.cli status x.run {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
