"""Descriptors as byte streams: blocks, deadlines, back-pressure without deadlock, clear ends."""

import os
import socket
import threading
import time

import pytest

from drivers.ports import DescriptorTransport, lock_holder
from hil.errors import CoreTimeoutError, CoreUnavailableError


def far():
    return time.monotonic() + 30.0


@pytest.fixture
def pair():
    """A transport, and the socket at its other end."""
    near, peer = socket.socketpair()
    transport = DescriptorTransport(
        near.fileno(), description="the board at here", release=near.close, stall_s=0.2
    )
    yield transport, peer
    transport.close()
    peer.close()


def test_a_read_gives_a_block_as_soon_as_there_is_one_and_no_more_than_asked(pair):
    transport, peer = pair
    peer.sendall(b"abcdef")
    assert transport.read(4, far()) == b"abcd"
    assert transport.read(100, far()) == b"ef"


def test_a_deadline_that_has_passed_still_gives_what_is_there(pair):
    transport, peer = pair
    assert transport.read(10, 0.0) == b""
    peer.sendall(b"x")
    assert transport.read(10, 0.0) == b"x"


def test_two_ends_that_both_send_before_they_read_do_not_wait_for_each_other(pair):
    transport, peer = pair
    ours, theirs = os.urandom(3_000_000), os.urandom(5_000_000)
    got = bytearray()

    def sends_first():
        peer.sendall(theirs)
        while len(got) < len(ours):
            got.extend(peer.recv(1 << 16))

    other = threading.Thread(target=sends_first)
    other.start()
    transport.write(ours)
    back = bytearray()
    while len(back) < len(theirs):
        back += transport.read(1 << 16, far())
    other.join(30)
    assert bytes(got) == ours
    assert bytes(back) == theirs


def test_a_peer_that_takes_nothing_ends_the_write(pair):
    transport, _ = pair
    with pytest.raises(CoreTimeoutError, match=r"the board at here took no byte .* state is unkn"):
        transport.write(bytes(10_000_000))


def test_a_peer_that_hangs_up_is_named_on_read_and_on_write(pair):
    transport, peer = pair
    peer.sendall(b"last words")
    peer.close()
    assert transport.read(100, far()) == b"last words"
    with pytest.raises(CoreUnavailableError, match=r"the board at here is gone .*open the chip"):
        transport.read(100, far())
    with pytest.raises(CoreUnavailableError, match="is gone"):
        transport.write(b"x" * 1_000_000)


def test_abort_ends_a_wait_of_another_thread(pair):
    transport, _ = pair
    ended = []

    def waits():
        with pytest.raises(CoreUnavailableError, match="was closed here"):
            transport.read(1, time.monotonic() + 600)
        ended.append(True)

    other = threading.Thread(target=waits)
    other.start()
    transport.abort()
    transport.abort()
    other.join(30)
    assert ended


def test_close_twice_is_fine_and_releases_once():
    near, peer = socket.socketpair()
    released = []
    transport = DescriptorTransport(
        near.fileno(), description="it", release=lambda: released.append(near.close())
    )
    transport.close()
    transport.close()
    transport.abort()
    assert len(released) == 1
    with pytest.raises(CoreUnavailableError):
        transport.write(b"x")
    with pytest.raises(CoreUnavailableError):
        transport.read(1, far())
    peer.close()


def test_the_holder_of_a_lock_is_named(tmp_path):
    import fcntl  # noqa: PLC0415

    path = tmp_path / "port"
    path.write_bytes(b"")
    assert lock_holder(path) == "another process"
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(path).startswith(f"process {os.getpid()} (")
