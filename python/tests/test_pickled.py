"""Pickles of plain objects, which are written and read in Rust: the same as the interpreter's, byte for byte."""

import _pickle
import random
import struct

import pytest

from allcores._allcores import dumps_plain, loads_plain

OPERATIONS = b".N\x88\x89JKM\x8aG\x8cXCB()\x85\x86\x87t]ae}su\x94h\x95"


class Maker:
    """Makes objects at random, some of them with parts that they share."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.made = []

    def object(self, depth=4):
        if depth == 4:
            self.made.clear()
        if self.made and self.random.random() < 0.15:
            return self.random.choice(self.made)
        made = self._new(depth)
        self.made = [*self.made[-11:], made]
        return made

    def _new(self, depth):
        choose = self.random
        kind = choose.randrange(12 if depth else 7)
        if kind == 0:
            return choose.choice((None, True, False, ()))
        if kind == 1:
            return choose.randrange(-300, 70000)
        if kind == 2:
            return choose.choice((1, -1)) * (1 << choose.randrange(66)) + choose.randrange(-2, 3)
        if kind in (3, 4):
            return struct.unpack("d", choose.randbytes(8))[0]
        length = choose.randrange(8) if choose.random() < 0.95 else choose.randrange(400)
        if kind == 5:
            return "".join(chr(choose.choice((0, 97, 233, 0x4E00, 0x1F600))) for _ in range(length))
        if kind == 6:
            return choose.randbytes(length)
        parts = [self.object(depth - 1) for _ in range(choose.randrange(6))]
        if kind in (7, 8):
            return tuple(parts)
        if kind in (9, 10):
            return parts
        return {_frozen(part): self.object(depth - 1) for part in parts}


def _frozen(part):
    try:
        hash(part)
    except TypeError:
        return repr(part)
    return part


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_is_what_the_interpreter_writes(seed):
    maker, ours = Maker(seed), 0
    for _ in range(2000):
        made = maker.object()
        written = dumps_plain(made)
        if written is None:
            continue
        ours += 1
        assert written == _pickle.dumps(made, 5)
        if made is not None:
            again = loads_plain(written)
            # Of all kinds of equality the strictest: what is shared is shared, and NaN is NaN.
            assert _pickle.dumps(again, 5) == written
    assert ours > 1500


@pytest.mark.parametrize("seed", range(4))
def test_bytes_of_anybody_are_read_as_the_interpreter_reads_them_or_not_at_all(seed):
    maker, taken = Maker(seed), 0
    for number in range(10_000):
        made = maker.object()
        pickle = bytearray(_pickle.dumps(made, 4 + number % 2))
        for _ in range(maker.random.randrange(4)):
            at, new = maker.random.randrange(2, max(3, len(pickle) - 1)), maker.random.choice(OPERATIONS)
            what = maker.random.randrange(3)
            pickle[at : at + (what > 0)] = bytes([new]) * (what < 2)
        read = loads_plain(bytes(pickle))
        if read is not None:
            taken += 1
            # Raises if the interpreter does not take it.
            assert repr(_pickle.loads(pickle)) == repr(read)
    assert taken > 1000


def test_what_is_shared_stays_shared():
    part = ["x" * 3, b"y"]
    again = loads_plain(dumps_plain((part, part, {"k": part})))
    assert again[0] is again[1] is again[2]["k"]


def test_what_contains_itself():
    loop = []
    loop.append(loop)
    assert dumps_plain(loop) == _pickle.dumps(loop, 5)
    again = loads_plain(dumps_plain(loop))
    assert again[0] is again
    knot = ([],)
    knot[0].append(knot)
    assert dumps_plain(knot) is None


@pytest.mark.parametrize(
    "other",
    [
        object(),
        {1, 2},
        bytearray(b"x"),
        2**64,
        "\ud800",
        "x" * 5000,
        list(range(2000)),
        [[[[[[[[[[]]]]]]]]]],
        type("Number", (int,), {})(1),
        [{"a": 1j}],
    ],
    ids=lambda other: type(other).__name__,
)
def test_what_is_not_plain_or_not_small_is_left_to_others(other):
    assert dumps_plain(other) is None


def test_a_frame_that_is_longer_than_its_bytes_is_refused():
    assert loads_plain(b"\x80\x05\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01K\x02.") is None
