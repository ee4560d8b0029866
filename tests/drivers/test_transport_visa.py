"""VISA resources: streams in blocks, messages in definite-length blocks, names refused."""

import socket
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from drivers.message_transport import MessageTransport
from drivers.visa_messages import StreamTransport, VisaChannel
from hil import open_chip
from hil.errors import CoreUnavailableError, RequestError


def far():
    return time.monotonic() + 30.0


@pytest.fixture
def echo():
    """A socket that sends back what it gets; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


@pytest.fixture
def stream(echo):
    """A socket resource through the reads and writes of PyVISA itself."""
    import pyvisa

    manager = pyvisa.ResourceManager("@py")
    resource = manager.open_resource(f"TCPIP::127.0.0.1::{echo}::SOCKET")

    def release():
        resource.close()
        manager.close()

    with closing(StreamTransport(resource, description="the echo", release=release)) as transport:
        yield transport


def test_a_stream_of_any_visa_library_is_read_frame_by_frame(stream):
    assert stream.read(10, time.monotonic()) == b""
    stream.write(b"first\x00second\x00")
    assert stream.read(3, far()) == b"fir"
    assert stream.read(100, far()) == b"st\x00"
    assert stream.read(100, far()) == b"second\x00"


def test_a_long_write_takes_what_comes_back_meanwhile(stream):
    data = (bytes(range(1, 200)) * 20 + b"\x00") * 200
    stream.write(data)
    got = b""
    while len(got) < len(data):
        got += stream.read(1 << 16, far())
    assert got == data


def test_a_closed_stream_says_so(stream):
    stream.close()
    stream.close()
    with pytest.raises(CoreUnavailableError, match="closed here"):
        stream.read(1, far())


class FakeResource:
    """A USBTMC-like resource with a device that answers each block with its bytes reversed."""

    def __init__(self, at_once):
        self.session, self.timeout = 7, 0
        self.at_once = at_once
        self.messages, self.answer = [], b""
        self.visalib = SimpleNamespace(read=self.read)
        self.unplugged = False

    def write_raw(self, message):
        if self.unplugged:
            raise OSError("no such device")
        assert message.startswith(b"DIAG:FRAM? #")
        assert message.endswith(b"\n")
        block = message[len(b"DIAG:FRAM? #") :]
        digits = int(block[:1])
        data = block[1 + digits : -1]
        assert len(data) == int(block[1 : 1 + digits])
        self.messages.append(data)
        size = str(len(data)).encode()
        self.answer += b"#%d%b%b\n" % (len(size), size, data[::-1])

    def read(self, session, count):
        from pyvisa.constants import StatusCode
        from pyvisa.errors import VisaIOError

        assert session == self.session
        if not self.answer:
            raise VisaIOError(StatusCode.error_timeout)
        data, self.answer = self.answer[: self.at_once], self.answer[self.at_once :]
        return data, StatusCode.success_max_count_read if self.answer else StatusCode.success


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_frames_cross_messages_in_blocks_however_they_are_read(at_once):
    resource, released = FakeResource(at_once), []
    channel = VisaChannel(resource, description="it", release=lambda: released.append(1))
    transport = MessageTransport(channel)
    transport.write(b"frames\x00\n#1")
    got = b""
    while len(got) < 10:
        got += transport.read(4, far())
    assert got == b"1#\n\x00semarf"
    assert resource.messages[0] == b"frames\x00\n#1"
    transport.close()
    transport.close()
    assert released == [1]


def test_a_device_that_is_silent_ends_at_the_deadline_and_a_lost_one_in_a_sentence():
    resource = FakeResource(100)
    channel = VisaChannel(resource, description="the board at USB0", release=lambda: None)
    assert channel.receive(time.monotonic()) == (b"", False)
    resource.unplugged = True
    with pytest.raises(CoreUnavailableError, match=r"the board at USB0 is gone \(no such device\)"):
        channel.send(b"DIAG:FRAM? #10\n")


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("visa:", RequestError, "is no VISA resource"),
        ("visa:nonsense", RequestError, "is no VISA resource; write for example visa:TCPIP"),
        ("visa:TCPIP::127.0.0.1::9::SOCKET?speed=1", RequestError, "unknown option 'speed'"),
        ("visa:TCPIP::127.0.0.1::1::SOCKET", CoreUnavailableError, "127.0.0.1::1::SOCKET"),
        ("visa:TCPIP::127.0.0.1::9::SOCKET?backend=@no", CoreUnavailableError, "no VISA library"),
        ("visa:ASRL/dev/gone::INSTR", CoreUnavailableError, "/dev/gone does not exist"),
        ("tcp:", RequestError, "is not HOST:PORT"),
        ("tcp:localhost", RequestError, "is not HOST:PORT"),
        ("tcp:localhost:70000", RequestError, "port from 0 to 65535"),
        ("tcp:127.0.0.1:1", CoreUnavailableError, r"nothing answers at 127.0.0.1:1 \(Connection r"),
        ("tcp:127.0.0.1:1?rate=0", RequestError, "rate=0 is outside"),
    ],
)
def test_a_wrong_address_or_an_absent_board_is_one_sentence(address, error, words):
    with pytest.raises(error, match=words):
        open_chip(address)
