"""Damage: bytes that are flipped, cut, repeated; headers that say something else; archives and texts made anew of it.

In: the bytes of a good file, a generator of random numbers. Out: those of a bad one, or, rarely, of one as good.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from typing import Any

import numpy as np

from indexlang.files.npy import write_npz

Random = random.Random
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def flip(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: Random) -> None:
    start, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 8, 100))
    data[start : start + length] = rng.randbytes(length)


def number(data: bytearray, rng: Random) -> None:
    """Somewhere stands a number that asks for much, or little."""
    width = rng.choice((2, 4, 8))
    value = rng.choice(NUMBERS) % (1 << 8 * width)
    start = rng.randrange(min(len(data), rng.choice((16, 200, 10**9))) + 1)
    data[start : start + width] = value.to_bytes(width, rng.choice(("little", "big")))


def truncate(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def insert(data: bytearray, rng: Random) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.choice((b"\0", b"[", b"9" * 30, rng.randbytes(rng.randrange(1, 50)), b"(" * 3000))


def remove(data: bytearray, rng: Random) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 8, 64, 500))]


def repeat(data: bytearray, rng: Random) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 8, 64, 1000))]
    at = rng.randrange(len(data) + 1)
    data[at:at] = part


def text(data: bytearray, rng: Random) -> None:
    """A word or a number of a header is another one."""
    old, new = rng.choice((
        (b"<f4", b"<f8"), (b"<f4", b"|O8"), (b"<f4", b"<U9"), (b"<f4", b"<M8"), (b"<f4", b"|V4"), (b"<f4", b">f4"),
        (b"<f4", b"<c8"), (b"False", b"True "), (b"False", b"None "), (b"shape", b"shop "), (b"F32", b"F64"),
        (b"F32", b"BF16"), (b"(", b"(" * 60), (b"[", b"[" * 60), (b",", b",-"), (b"3", b"3" * 25), (b"3", b"0"),
        (b"NUMPY", b"NUMPI"), (b"4", b"4444"), (b"'", b'"'), (b'"', b"'"), (b"}", b"'x': 1}"), (b"1", b"1e99"),
        (b"PK", b"KP"), (b"parameters", b"parametero"), (b":", b": -"), (b"]", b",[]]"), (b"null", b"NaN"),
    ))  # fmt: skip
    places = [k for k in range(len(data)) if data.startswith(old, k)]
    if places:
        at = rng.choice(places)
        data[at : at + len(old)] = new


DAMAGE = (flip, flip, overwrite, number, number, truncate, insert, remove, repeat, text, text, text)


def damaged(good: bytes, rng: Random) -> bytes:
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(DAMAGE)(data, rng)
    return bytes(data)


def repacked(good: bytes, rng: Random) -> bytes:
    """An archive with right checksums, one of whose entries is damaged, there twice, or missing."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    chosen = rng.choice(list(entries))
    with zipfile.ZipFile(target, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in entries.items():
            if name != chosen:
                archive.writestr(name, data)
                continue
            match rng.randrange(8):
                case 0:
                    pass
                case 1:
                    archive.writestr(name.removesuffix(".npy"), data)
                    archive.writestr(f"{name.removesuffix('.npy')}.npy", data)
                case 2:
                    archive.writestr(f"{name}.other", data)
                case 3:
                    archive.writestr(name, array(odd(rng)))
                case _:
                    archive.writestr(name, damaged(data, rng))
    return target.getvalue()


def array(value: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    return file.getvalue()


def odd(rng: Random) -> np.ndarray:
    """What no parameter is."""
    return rng.choice((
        np.array("text"), np.array([{}], object), np.zeros(3, "M8[s]"), np.zeros((2, 3), complex), np.zeros((0, 5)),
        np.array(1e300), np.full((3, 8), np.nan), np.zeros(2, [("a", "f4")]), np.zeros((1,) * 30), np.array(True),
    ))  # fmt: skip


LEAVES = (
    -5,
    7,
    0,
    1.5,
    1 << 70,
    10**400,
    -1.0,
    None,
    True,
    "x",
    [],
    {},
    float("nan"),
    float("inf"),
    [[[]]],
    "0" * 64,
    10**15,
)


def another_text(good: bytes, rng: Random) -> bytes:
    """A checkpoint with right checksums whose text says something else somewhere."""
    with zipfile.ZipFile(io.BytesIO(good)) as source:
        entries = {n.removesuffix(".npy"): np.load(io.BytesIO(source.read(n))) for n in source.namelist()}
    meta = json.loads(entries["run.json"].tobytes())
    for _ in range(rng.choice((1, 1, 2))):
        place, key = rng.choice(list(places(meta)))
        if rng.random() < 0.2:
            del place[key]
        else:
            place[key] = rng.choice(LEAVES)
        if not isinstance(meta, dict) or not list(places(meta)):
            break
    entries["run.json"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    file = io.BytesIO()
    write_npz(file, entries)
    return file.getvalue()


def places(tree: Any) -> Any:
    """Every entry of a tree of JSON: what holds it, and where."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from places(tree[key])
