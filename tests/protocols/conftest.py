"""Both ends of a link with a session between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols.wire import messages as wire
from protocols.wire.link import DeviceLink, HostLink, Reply

WINDOW = 4


def hello(session: int = 3) -> wire.HelloRequest:
    return wire.HelloRequest(lowest_version=2, highest_version=2, session=session, holder="ada")


def hello_reply(epoch: int, **changes: int) -> wire.HelloReply:
    values = {"window": WINDOW, "max_object_bytes": 1 << 20, "last_mutation": 0, **changes}
    return wire.HelloReply(
        version=2, epoch=epoch, session=3, boot=1, capabilities_sha256=bytes(32), **values
    )


def opened(**changes: int) -> tuple[HostLink, DeviceLink]:
    host, device = HostLink(), DeviceLink(window=WINDOW, max_object_bytes=1 << 20)
    _, data = host.request(0, hello())
    (incoming,) = device.receive(data)
    answer = device.reply(incoming, hello_reply(device.begin(incoming), **changes))
    (reply,) = host.receive(answer)
    assert isinstance(reply, Reply)
    assert isinstance(reply.message, wire.HelloReply)
    host.begin(reply.message)
    return host, device


def serve(device: DeviceLink, data: bytes, executed: list[object]) -> bytes:
    """Execute what is due and answer it; a NOW tells how many were executed."""
    out = []
    for incoming in device.receive(data):
        executed.append(incoming.message)
        out.append(device.reply(incoming, wire.NowReply(now_s=float(len(executed)))))
    return b"".join((device.take_output(), *out))


@pytest.fixture(name="hello")
def make_hello() -> Callable[..., wire.HelloRequest]:
    """Makes requests for a session: hello(number)."""
    return hello


@pytest.fixture(name="hello_reply")
def make_hello_reply() -> Callable[..., wire.HelloReply]:
    """Makes answers to them: hello_reply(epoch)."""
    return hello_reply


@pytest.fixture(name="opened")
def make_session() -> Callable[..., tuple[HostLink, DeviceLink]]:
    """Opens a session with a window of 4; what the device tells may be changed."""
    return opened


@pytest.fixture(name="serve")
def make_service() -> Callable[[DeviceLink, bytes, list[object]], bytes]:
    """Executes what is due: serve(device, data, executed) returns the answer."""
    return serve
