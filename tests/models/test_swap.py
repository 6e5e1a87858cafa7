"""Weights in made archives of both layouts: found once, replaced, and nothing else touched."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phasewalk.errors import InputError, ParseError
from phasewalk.models import swap
from phasewalk.models.swap import Place, Template

Arrays = dict[str, NDArray[Any]]
GRAPH = "0123456789abcdef"
CODE = b"def forward(self): ..."


def weights(seed: int = 1) -> Arrays:
    """Two precisions, a scalar, an order of axes that is not C's, and one that is empty."""
    rng = np.random.default_rng(seed)
    return {
        "layer.0.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "layer.1.weight": np.asfortranarray(rng.normal(size=(2, 3))),
        "scale": np.array(rng.normal()),
        "bias": np.zeros(0, np.float32),
    }


def content(weight: NDArray[Any]) -> bytes:
    """As torch stores it."""
    return np.ascontiguousarray(weight).tobytes()


def archive(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return stream.getvalue()


def torchscript(of: Arrays) -> bytes:
    """Each weight is a file of its own."""
    parts = {f"model/constants/{i}": content(w) for i, w in enumerate(of.values()) if w.size}
    return archive({"model/code/forward.py": CODE, **parts, "model/version": b"3\n"})


def aotinductor(of: Arrays) -> bytes:
    """All weights are inside one compressed library, between its code."""
    data = b"\0padding".join(content(w) for w in of.values() if w.size)
    library = b"\x7fELF" + data + b"\x90" * 9
    return archive({"model/lib.so": library, "model/code.cpp": CODE}, zipfile.ZIP_DEFLATED)


LAYOUTS = pytest.mark.parametrize("layout", [torchscript, aotinductor])


def files(package: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(package)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


@LAYOUTS
def test_swapped_is_what_a_compilation_would_have_made(layout: Callable[[Arrays], bytes]) -> None:
    first, second = weights(1), weights(2)
    package = layout(first)
    template = swap.find_weights(package, GRAPH, first)
    swapped = swap.swap(package, template, GRAPH, second)
    assert files(swapped) == files(layout(second)) != files(package)
    assert list(files(swapped)) == list(files(package))


@LAYOUTS
def test_only_the_package_whose_places_are_known_is_patched(
    layout: Callable[[Arrays], bytes],
) -> None:
    package = layout(weights(1))
    template = swap.find_weights(package, GRAPH, weights(1))
    other = swap.swap(package, template, GRAPH, weights(2))
    with pytest.raises(InputError, match="damaged or was replaced"):
        swap.swap(other, template, GRAPH, weights(1))
    again = swap.find_weights(other, GRAPH, weights(2))
    assert again.places == template.places
    assert files(swap.swap(other, again, GRAPH, weights(1))) == files(package)


@LAYOUTS
def test_how_a_file_was_stored_stays(layout: Callable[[Arrays], bytes]) -> None:
    package = layout(weights())
    template = swap.find_weights(package, GRAPH, weights())
    swapped = swap.swap(package, template, GRAPH, weights(2))
    kinds = [
        [(info.filename, info.compress_type) for info in zipfile.ZipFile(io.BytesIO(p)).infolist()]
        for p in (package, swapped)
    ]
    assert kinds[0] == kinds[1]


def test_places_by_hand() -> None:
    package = archive({"a": b"xx" + content(np.float32([1.5, 2.5])), "b": b"yy"})
    found = swap.find_weights(package, GRAPH, {"w": np.array([1.5, 2.5], np.float32)})
    assert found == Template(GRAPH, sha256(package).hexdigest(), {"w": Place("a", 2, 8)})


def test_a_big_endian_weight_is_written_little_endian() -> None:
    weight = np.array([1.5, 2.5], "<f4")
    package = archive({"a": content(weight)})
    template = swap.find_weights(package, GRAPH, {"w": weight.astype(">f4")})
    assert files(swap.swap(package, template, GRAPH, {"w": weight.astype(">f4") * 2})) == {
        "a": content(weight * 2)
    }


ONE = np.array([1.5, -2.5, 3.5], np.float32)


@pytest.mark.parametrize(
    ("stored", "count"),
    [
        ({"a": b"nothing"}, 0),
        ({"a": content(ONE)[:-1]}, 0),
        ({"a": content(ONE), "b": content(ONE)}, 2),
        ({"a": content(ONE) + b"x" + content(ONE)}, 2),
        ({"a": content(ONE)[:6], "b": content(ONE)[6:]}, 0),
    ],
)
def test_a_weight_that_is_not_there_once(stored: Mapping[str, bytes], count: int) -> None:
    with pytest.raises(InputError, match=f"weight layer found {count} times"):
        swap.find_weights(archive(stored), GRAPH, {"layer": ONE})


def test_copies_that_overlap_are_two() -> None:
    equal = np.ones(2, np.float32)
    with pytest.raises(InputError, match="found 2 times"):
        swap.find_weights(archive({"a": content(np.ones(3, np.float32))}), GRAPH, {"w": equal})


def test_two_weights_with_the_same_numbers_are_not_told_apart() -> None:
    with pytest.raises(InputError, match="weight one found 2 times"):
        swap.find_weights(
            archive({"a": content(ONE), "b": content(ONE)}), GRAPH, {"one": ONE, "two": ONE.copy()}
        )


def test_two_weights_at_one_place_are_refused() -> None:
    """One would overwrite the other."""
    with pytest.raises(InputError):
        swap.find_weights(archive({"a": content(ONE)}), GRAPH, {"one": ONE, "two": ONE.copy()})


def test_another_graph() -> None:
    package = torchscript(weights())
    template = swap.find_weights(package, GRAPH, weights())
    with pytest.raises(InputError, match=r"its graph differs.*compile it again"):
        swap.swap(package, template, "fedcba9876543210", weights(2))


@pytest.mark.parametrize(
    "change",
    [
        {"scale": np.zeros(2)},
        {"scale": np.float32(1.0)},
        {"more": np.zeros(1)},
        {"scale": None},
    ],
)
def test_weights_of_other_names_or_sizes(change: Mapping[str, Any]) -> None:
    package = torchscript(weights())
    template = swap.find_weights(package, GRAPH, weights())
    other = {name: w for name, w in {**weights(2), **change}.items() if w is not None}
    with pytest.raises(InputError, match="names or sizes of the weights differ"):
        swap.swap(package, template, GRAPH, other)


def broken_checksum() -> bytes:
    package = torchscript(weights())
    at = package.index(CODE)
    return package[:at] + b"D" + package[at + 1 :]


@pytest.mark.parametrize(
    "package",
    [
        b"",
        b"no archive",
        torchscript(weights())[:-30],
        torchscript(weights())[: len(CODE)],
        broken_checksum(),
    ],
    ids=["empty", "text", "no end", "start only", "checksum"],
)
def test_a_damaged_archive(package: bytes) -> None:
    template = swap.find_weights(torchscript(weights()), GRAPH, weights())
    with pytest.raises(InputError, match="the deployed model is damaged"):
        swap.find_weights(package, GRAPH, weights())
    with pytest.raises(InputError, match="the deployed model is damaged"):
        swap.swap(package, template, GRAPH, weights(2))


@LAYOUTS
@given(at=st.integers(0, 10**4), value=st.integers(0, 255))
@example(at=28, value=9)  # the stream that is decompressed
@example(at=29, value=8)  # ends in a name
@example(at=371, value=1)  # a flag says that it is encrypted
@example(at=247, value=1)
def test_damage_of_any_byte_raises_nothing_else(
    layout: Callable[[Arrays], bytes], at: int, value: int
) -> None:
    package = bytearray(layout(weights()))
    package[at % len(package)] = value
    with suppress(InputError):
        swap.find_weights(bytes(package), GRAPH, weights())


@pytest.mark.parametrize("change", [{"offset": 10**6}, {"entry": "elsewhere"}])
def test_a_damaged_template(change: Mapping[str, Any]) -> None:
    """A weight would stand where no file is, or after its end: no model may be made of that."""
    package = torchscript(weights())
    template = swap.find_weights(package, GRAPH, weights())
    places = {name: replace(place, **change) for name, place in template.places.items()}
    with pytest.raises(InputError, match="is beyond the end of its file"):
        swap.swap(package, replace(template, places=places), GRAPH, weights(2))


def test_a_template_as_its_file(tmp_path: Path) -> None:
    template = swap.find_weights(aotinductor(weights()), GRAPH, weights())
    path = tmp_path / "template.json"
    path.write_text(swap.template_text(template))
    assert swap.read_template(path) == template


def _one_place(place: str) -> str:
    return f'{{"graph": "a", "package": "b", "places": {{"w": {place}}}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"graph": "a"}',
        '{"graph": "a", "package": "b", "places": []}',
        _one_place('{"entry": "a", "offset": 1}'),
        _one_place('{"entry": "a", "offset": 1, "length": 2, "x": 3}'),
        _one_place("null"),
        _one_place('{"entry": "a", "offset": "1", "length": 2}'),
        _one_place('{"entry": "a", "offset": -1, "length": 2}'),
    ],
)
def test_a_template_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "template.json"
    path.write_text(text)
    with pytest.raises(ParseError, match=r"template\.json: not the positions of a model's weights"):
        swap.read_template(path)


def test_no_template_at_all(tmp_path: Path) -> None:
    with pytest.raises(ParseError, match="not the positions"):
        swap.read_template(tmp_path / "template.json")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["graph", "package", "places", "entry", "offset", "length", "w"]),
            inner,
            max_size=4,
        )
    ),
)


@given(data=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_template_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(data)
    with suppress(ParseError):
        swap.read_template(path)


def stored(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_a_trainings_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(stored(graph=GRAPH, **weights()))
    graph, found = swap.read_weights(path)
    assert (graph, sorted(found)) == (GRAPH, sorted(weights()))
    for name, weight in weights().items():
        assert found[name].dtype == weight.dtype
        np.testing.assert_array_equal(found[name], weight)


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"text",
        stored(w=np.ones(2)),
        stored(graph=GRAPH, w=np.ones(2))[:-40],
        stored(graph=GRAPH, w=np.array([{}])),
        archive({"graph.npy": b"text"}),
    ],
    ids=["absent", "empty", "text", "no graph", "truncated", "pickled", "no array"],
)
def test_weights_that_are_none(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "weights.npz"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ParseError, match=r"weights\.npz: not a file of weights"):
        swap.read_weights(path)


@given(at=st.integers(0, 10**4), value=st.integers(0, 255))
@example(at=476, value=1)  # a compression that zipfile does not know
@example(at=474, value=1)  # a flag says that it is encrypted
def test_damaged_weights_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    data = bytearray(stored(graph=GRAPH, w=np.arange(4.0)))
    data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    path.write_bytes(data)
    with suppress(ParseError):
        swap.read_weights(path)


@given(data=st.binary(max_size=80))
def test_any_bytes_are_no_weights(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    path.write_bytes(data)
    with pytest.raises(ParseError):
        swap.read_weights(path)
