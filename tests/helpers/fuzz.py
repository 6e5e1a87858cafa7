"""Fuzzing of readers: a mutated file in; a sound result, or one typed line that names it, out."""

import contextlib
import re
import resource
import signal
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.cases import cases
from phasewalk.errors import ParseError, PhasewalkError

CASES, PLACES = cases(60, 1000), cases(40, 80)
CPU_S, MEMORY = 3.0, 2**30
MAX_MESSAGE = 1000

JUNK = (
    *(b"nan", b"-inf", b"1e999", b"-1", b"0", b"1.5", b"999999999999", b"9" * 5000),
    *(b"0x" + b"f" * 5000, b"null", b"true", b"[]", b"{}", b'""', b"[" * 20_000),
    *(b'{"a":' * 20_000, b"x" * 100_000, b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\r"),
    *(b"\n", b" ", b"\t", b"\x1b[31m", b"[/x]", b"\\ud800", "\x85\u2028Å٣".encode()),
)
_WORD = re.compile(rb"[^\s,:=\[\]{}\"]+")
_LOSSY = {"cut", "delete", "duplicate"}
"""A reader may lose or refuse what these touch, but never reads anything else instead."""


class Hang(BaseException):
    """Out of CPU time: no reader's `except Exception` catches it."""


@dataclass(frozen=True)
class Reader:
    """A reader of files, and what is known of it.

    Attributes:
        file: name of the mutated file; `read` may put others beside it.
        seeds: valid files.
        read: reads the file, and does with the result what the program does with it at once.
        tokens: junk that means something in this format.
        parts: what a result consists of, hashable.
        names: what each error names in place of the file.
        lined: each of its errors names a line.
        examples: files that were misread once.
        words: each of these is set in place of each word, at up to `PLACES` places.
        cases: how many mutated files it gets, besides up to 6 × `PLACES` systematic ones a seed.
    """

    file: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], Any]
    tokens: tuple[bytes, ...] = ()
    parts: Callable[[Any], Collection[Any]] | None = None
    names: str = ""
    lined: bool = False
    examples: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = (b"nan", b"999999999999", b"[" * 20_000)
    cases: int = CASES


@dataclass(frozen=True)
class Mutation:
    """One change of a file; `at` and `other` choose a byte, a word or a line of it."""

    kind: str
    at: int
    other: int
    token: bytes

    def __repr__(self) -> str:
        token = self.token if len(self.token) < 40 else self.token[:20] + b"..."
        return f"Mutation({self.kind!r}, {self.at}, {self.other}, {token!r})"

    def apply(self, content: bytes) -> bytes:
        """The file after the change."""
        change: Callable[[bytes], bytes] = getattr(self, f"_{self.kind}")
        return change(content) if content else self.token

    def _cut(self, content: bytes) -> bytes:
        return content[: self.at % len(content)]

    def _flip(self, content: bytes) -> bytes:
        index = self.at % len(content)
        changed = content[index] ^ (1 << self.other % 8)
        return content[:index] + bytes([changed]) + content[index + 1 :]

    def _insert(self, content: bytes) -> bytes:
        index = self.at % (len(content) + 1)
        return content[:index] + self.token + content[index:]

    def _word(self, content: bytes) -> bytes:
        words = list(_WORD.finditer(content)) or [re.match(b"", content)]
        found = words[self.at % len(words)]
        assert found is not None
        return content[: found.start()] + self.token + content[found.end() :]

    def _line(self, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        index = self.at % len(lines)
        return b"".join([*lines[:index], self.token + b"\n", *lines[index:]])

    def _delete(self, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        del lines[self.at % len(lines)]
        return b"".join(lines)

    def _duplicate(self, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        index = self.at % len(lines)
        return b"".join([*lines[:index], lines[index], *lines[index:]])

    def _swap(self, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        one, other = self.at % len(lines), self.other % len(lines)
        lines[one], lines[other] = lines[other], lines[one]
        return b"".join(lines)

    def _replace(self, content: bytes) -> bytes:
        return self.token


KINDS = tuple(name[1:] for name in vars(Mutation) if re.fullmatch(r"_[a-z]+", name))


def mutations(reader: Reader) -> st.SearchStrategy[list[Mutation]]:
    """Up to three changes of one file."""
    where = st.integers(0, 2**20)
    token = st.sampled_from((*reader.tokens, *reader.tokens, *JUNK)) | st.binary(max_size=40)
    return st.lists(
        st.builds(Mutation, st.sampled_from(KINDS), where, where, token), min_size=1, max_size=3
    )


def losses(seed: bytes) -> Iterator[bytes]:
    """The file cut, and without (or with twice) one of its lines, at up to `PLACES` places each."""
    places = range(0, len(seed), 1 + len(seed) // PLACES)
    lines = range(0, seed.count(b"\n") + 1, 1 + seed.count(b"\n") // PLACES)
    for kind, indices in (("cut", places), ("delete", lines), ("duplicate", lines)):
        yield from (Mutation(kind, index, 0, b"").apply(seed) for index in indices)


def exchanges(seed: bytes, words: tuple[bytes, ...]) -> Iterator[bytes]:
    """The file with other words at up to `PLACES` places."""
    count = len(_WORD.findall(seed))
    for index in range(0, count, 1 + count // PLACES):
        for word in words:
            yield Mutation("word", index, 0, word).apply(seed)


def fuzz(reader: Reader, folder: Path, *, cases: int | None = None, shrink: bool = True) -> None:
    """Read the examples, losses and exchanges, and `cases` mutated files.

    AssertionError for the first that is misread.

    The same cases in each run. Every one has `CPU_S` seconds, and `MEMORY` bytes beyond what the
    process has.
    """
    path = folder / reader.file
    with _memory():
        known = [_read(reader, path, seed) for seed in reader.seeds]
        assert not [found for found in known if isinstance(found, PhasewalkError)], known
        for content in reader.examples:
            judge(reader, path, content)
        for seed, whole in zip(reader.seeds, known, strict=True):
            for content in losses(seed):
                judge(reader, path, content, whole)
            for content in exchanges(seed, reader.words):
                judge(reader, path, content)

        @settings(
            max_examples=cases or reader.cases,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            report_multiple_bugs=False,
        )
        @given(st.integers(0, len(known) - 1), mutations(reader))
        def attempt(index: int, changes: list[Mutation]) -> None:
            content = reader.seeds[index]
            for change in changes:
                content = change.apply(content)
            lossy = len(changes) == 1 and changes[0].kind in _LOSSY
            judge(reader, path, content, known[index] if lossy else None)

        attempt()


def judge(reader: Reader, path: Path, content: bytes, whole: Any = None) -> None:
    """Read one file; AssertionError where the reader does not what it should.

    Args:
        reader: the reader.
        path: where the file stands.
        content: of the file.
        whole: the result of a file of which this one lost (or has twice) a part.
    """
    found = _read(reader, path, content)
    if isinstance(found, PhasewalkError):
        message = str(found)
        assert message.isprintable(), f"not one printable line: {message!r}"
        assert len(message) <= MAX_MESSAGE + len(str(path)), f"endless message: {message[:200]}"
        named = reader.file in message or (reader.names and reader.names in message)
        assert named, f"the file is not named: {message}"
        if reader.lined:
            assert isinstance(found, ParseError), f"not a ParseError: {message}"
            assert found.line is not None, f"no line is named: {message}"
    elif whole is not None and reader.parts is not None:
        invented = set(reader.parts(found)) - set(reader.parts(whole))
        assert not invented, f"read what no file held: {str(invented)[:200]}"


def _read(reader: Reader, path: Path, content: bytes) -> Any:
    """What the reader returns, or its typed error."""
    path.write_bytes(content)
    try:
        with _time():
            return reader.read(path)
    except PhasewalkError as error:
        return error
    except Hang as error:
        raise AssertionError(f"no answer in {CPU_S:g} s of CPU time") from error
    except Exception as error:
        raise AssertionError(f"untyped: {type(error).__name__}: {str(error)[:200]}") from error


@contextlib.contextmanager
def _time() -> Iterator[None]:
    """Raise Hang after `CPU_S` seconds of CPU time; pytest's own timeout counts wall time."""

    def stop(number: int, frame: Any) -> None:
        raise Hang

    old = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Let allocations fail beyond `MEMORY` more bytes of address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
