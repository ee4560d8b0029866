"""Objects: bodies come back from pieces in any order, lies do not, memory is bounded."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.framing import MAX_PAYLOAD_BYTES, Flags, Frame, FrameDecoder, Kind
from protocols.wire.objects import (
    MAX_OBJECT_BYTES,
    PIECE_BYTES,
    Inbox,
    encode_object,
    object_frames,
    want_payloads,
    wanted,
)

VECTORS = json.loads((Path(wire.__path__[0]) / "vectors.json").read_text(encoding="utf-8"))
HEAD = Frame(Kind.REPLY, Flags.NONE, 0x02, 1, 0, 5, 0, b"")


def pieces(body: bytes, sequence: int = 5) -> list[Frame]:
    data = encode_object(HEAD._replace(payload=body, sequence=sequence))
    found = FrameDecoder().feed(data)
    assert all(isinstance(f, Frame) for f in found)
    return found  # type: ignore[return-value]


def body_of(size: int) -> bytes:
    return hashlib.shake_128(b"body").digest(size)


@given(st.integers(MAX_PAYLOAD_BYTES + 1, 6 * PIECE_BYTES), st.randoms(use_true_random=False))
def test_an_object_comes_back_from_pieces_in_any_order_and_any_of_them_twice(size, random):
    body, inbox = body_of(size), Inbox(MAX_OBJECT_BYTES)
    parts = pieces(body)
    order = [p for p in parts for _ in range(random.choice((1, 2)))]
    random.shuffle(order)
    whole = None
    for part in order:
        if whole is None:
            inbox.add(part, 4)
            whole = inbox.whole(5)
    assert whole == HEAD._replace(payload=body)
    assert (inbox.size, 5 in inbox) == (0, False)


@given(st.integers(0, 3 * MAX_PAYLOAD_BYTES))
def test_an_object_is_one_frame_up_to_the_payload_and_full_pieces_above(size):
    frames = object_frames(HEAD._replace(payload=body_of(size)))
    assert len(frames) == (1 if size <= MAX_PAYLOAD_BYTES else -(-size // PIECE_BYTES))
    assert max(map(len, frames)) <= 8192


@pytest.mark.parametrize("vector", VECTORS["objects"], ids=lambda v: v["pattern"])
def test_a_golden_object_is_cut_to_the_byte(vector):
    head = Frame(
        kind=Kind.REQUEST,
        flags=Flags.NONE,
        opcode=vector["opcode"],
        epoch=vector["epoch"],
        core=vector["core"],
        sequence=vector["sequence"],
        credit=vector["credit"],
        payload=bytes.fromhex(vector["pattern"]) * vector["repeat"],
    )
    data = encode_object(head)
    assert (data.count(0), len(data)) == (vector["frames"], vector["bytes"])
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]


def test_a_lost_piece_is_asked_for_once_when_its_successor_shows_it():
    parts, inbox = pieces(body_of(6 * PIECE_BYTES)), Inbox(MAX_OBJECT_BYTES)
    asked = [inbox.add(parts[k], 4) for k in (0, 1, 4, 5)]
    assert asked == [[], [], [2, 3], []]
    assert inbox.rest(5) == []
    assert inbox.add(parts[3], 4) == [2]  # asked for before 3, so it was lost once more
    assert inbox.missing(5) == [2]
    assert inbox.add(parts[2], 4) == []
    assert inbox.whole(5) is not None


def test_the_last_piece_once_more_asks_for_all_that_is_missing():
    parts, inbox = pieces(body_of(5 * PIECE_BYTES)), Inbox(MAX_OBJECT_BYTES)
    assert inbox.add(parts[4], 4) == [0, 1, 2, 3]
    assert inbox.add(parts[2], 4) == [0, 1]
    assert inbox.add(parts[4], 4) == [0, 1, 3]
    assert inbox.add(parts[2], 4) == []


def test_nothing_more_will_come_once_a_later_request_is_seen():
    parts, inbox = pieces(body_of(5 * PIECE_BYTES)), Inbox(MAX_OBJECT_BYTES)
    inbox.add(parts[0], 4)
    inbox.add(parts[1], 4)
    assert inbox.rest(5) == [2, 3, 4]
    assert inbox.rest(5) == []


def crafted(offset: int, total: int, data: bytes, flags: int = Flags.PIECE) -> Frame:
    return HEAD._replace(flags=flags, payload=struct.pack("<II", offset, total) + data)


FULL = bytes(PIECE_BYTES)
LAST = Flags.PIECE | Flags.LAST


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(crafted(0, 4, b"abcd"), id="complete but not marked as last"),
        pytest.param(crafted(0, 2, b"abcd" + bytes(32), LAST), id="more than announced"),
        pytest.param(crafted(0, 9, b"abcd" + bytes(32), LAST), id="less than announced"),
        pytest.param(crafted(0, 9000, b"abcd"), id="short piece that is not the last"),
        pytest.param(crafted(0, 90_000, FULL + b"x"), id="long piece"),
        pytest.param(crafted(1, 90_000, FULL), id="begins within a piece"),
        pytest.param(crafted(0, MAX_OBJECT_BYTES + 1, FULL), id="larger than any object"),
        pytest.param(crafted(0, 0, b""), id="no data"),
        pytest.param(HEAD._replace(flags=Flags.PIECE, payload=b"abc"), id="no piece header"),
        pytest.param(crafted(0, 4, b"abcd" + bytes(32), Flags.LAST), id="last of nothing"),
    ],
)
def test_lying_pieces_are_refused_and_kept_nowhere(lie):
    inbox = Inbox(MAX_OBJECT_BYTES)
    with pytest.raises(RemoteProtocolError):
        inbox.add(lie, 4)
    assert (inbox.size, 5 in inbox) == (0, False)


def test_a_wrong_digest_drops_the_whole():
    inbox = Inbox(MAX_OBJECT_BYTES)
    inbox.add(crafted(0, 4, b"abcd" + bytes(32), LAST), 4)
    with pytest.raises(RemoteProtocolError, match="SHA-256"):
        inbox.whole(5)
    assert inbox.size == 0


@pytest.mark.parametrize("change", [{"opcode": 3}, {"core": 1}, {"flags": LAST | Flags.MUTATING}])
def test_pieces_of_two_objects_are_never_joined(change):
    parts, inbox = pieces(body_of(2 * PIECE_BYTES)), Inbox(MAX_OBJECT_BYTES)
    inbox.add(parts[0], 4)
    with pytest.raises(RemoteProtocolError, match="another object"):
        inbox.add(parts[1]._replace(**change), 4)
    inbox.add(parts[1], 4)
    assert inbox.whole(5) is not None


def test_unfinished_objects_stay_within_the_limit_and_the_one_due_first_wins():
    inbox = Inbox(5 * PIECE_BYTES)
    soon, late = pieces(body_of(4 * PIECE_BYTES), 5), pieces(body_of(4 * PIECE_BYTES), 6)
    for part in late[:3]:
        inbox.add(part, 4)
    for part in soon:
        inbox.add(part, 4)
        assert inbox.size <= 5 * PIECE_BYTES
    assert 6 not in inbox
    inbox.add(late[0], 4)
    with pytest.raises(RemoteProtocolError, match="are the most"):
        inbox.add(late[1], 4)
    assert inbox.whole(5) == HEAD._replace(payload=body_of(4 * PIECE_BYTES))


def test_an_object_above_the_limit_is_refused_at_its_first_piece():
    inbox = Inbox(PIECE_BYTES)
    with pytest.raises(RemoteProtocolError, match="is above"):
        inbox.add(pieces(body_of(2 * PIECE_BYTES))[0], 4)
    with pytest.raises(LocalProtocolError, match="in parts"):
        encode_object(HEAD._replace(payload=bytes(MAX_OBJECT_BYTES + 1)))


@given(st.lists(st.integers(0, 2999), max_size=3000, unique=True))
def test_wants_name_the_pieces_in_frames(indices):
    payloads = want_payloads(indices)
    assert all(0 < len(p) <= MAX_PAYLOAD_BYTES for p in payloads)
    assert [k for p in payloads for k in wanted(p, 3000)] == indices


def test_a_want_is_all_or_known_pieces():
    assert wanted(b"", 3) == [0, 1, 2]
    for bad in (b"abc", struct.pack("<I", 3)):
        with pytest.raises(RemoteProtocolError):
            wanted(bad, 3)
