"""Code in a shared cache is used only as this user has put it there; TMPDIR and HOME are named."""

import os
from pathlib import Path

import pytest

from phasewalk import scratch
from phasewalk.engines import discovery, shared_code
from phasewalk.errors import EngineMissing, InputError

NAMES = ("plugin.so", "stamp.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cache/plugin/ab12"
    shared_code.put(folder, {"plugin.so": b"code", "stamp.json": b"{}"})
    return folder


def test_what_was_put_there_is_used(folder: Path) -> None:
    assert shared_code.why_not(folder, NAMES) == ""
    assert shared_code.own(folder) == folder


@pytest.mark.parametrize("name", NAMES)
def test_what_was_changed_is_not(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"other code")
    assert "is damaged or was changed" in shared_code.why_not(folder, NAMES)


def test_what_nobody_vouches_for_is_not(folder: Path) -> None:
    (folder / shared_code.HASHES).unlink()
    assert "its list of checksums cannot be read" in shared_code.why_not(folder, NAMES)


@pytest.mark.parametrize("name", ["", *NAMES, shared_code.HASHES])
def test_what_others_may_write_is_not(folder: Path, name: str) -> None:
    path = folder / name
    path.chmod(path.stat().st_mode | 0o020)
    assert shared_code.why_not(folder, NAMES) == f"{path} can be written by other users"


@pytest.mark.parametrize("name", ["", *NAMES, shared_code.HASHES])
def test_what_is_another_users_is_not(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getuid()
    if me != 0:
        pytest.skip("only root can give files away")
    os.chown(folder / name, 12345, -1)
    assert shared_code.why_not(folder, NAMES) == f"{folder / name} belongs to another user"


def test_each_user_of_a_group_has_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_code, "ROOT", -1)
    monkeypatch.setattr(os, "getuid", lambda: 777)
    mine = shared_code.own(folder)
    assert mine == folder.with_name("ab12-u777")
    assert "belongs to another user" in shared_code.why_not(folder, NAMES)
    assert "cannot be read" in shared_code.why_not(mine, NAMES)


def test_a_group_that_may_write_folders_may_not_write_this_one(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        shared_code.put(tmp_path / "x", {"a.so": b"code"})
    finally:
        os.umask(before)
    assert shared_code.why_not(tmp_path / "x", ["a.so"]) == ""


def test_a_full_tmpdir_is_named_before_anything_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "NEEDED_BYTES", 10**18)
    with (
        pytest.raises(InputError, match="MB left for temporary files") as caught,
        scratch.folder("x"),
    ):
        pass
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "TMPDIR" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_tmpdir_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"no folder for temporary files \(.+\); set TMPDIR"):
        scratch.folder("x").__enter__()


@pytest.mark.parametrize("keep", [True, False])
def test_a_folder_stays_only_if_an_error_points_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch.folder("x", keep_failed=keep):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), scratch.folder("x", keep_failed=keep):
        raise KeyError
    assert len(list(tmp_path.iterdir())) == keep


def test_no_home_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(EngineMissing, match="set PHASEWALK_CACHE"):
        discovery.cache_dir({})
    assert discovery.cache_dir({"PHASEWALK_CACHE": "/x"}) == Path("/x")
