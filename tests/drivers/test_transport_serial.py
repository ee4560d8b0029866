"""Serial ports, on pseudo-terminals: exclusive, raw, control lines untouched, unplugged."""

import fcntl
import os
import termios
import time
from pathlib import Path

import pytest

from drivers.serial_transport import open_serial_port, serial_timing
from hil import open_chip
from hil.errors import CoreUnavailableError, RequestError

CONTROL_LINES = {termios.TIOCMSET, termios.TIOCMBIS, termios.TIOCMBIC}


@pytest.fixture
def terminal():
    """The board's end of a pseudo-terminal, and the path of the other end."""
    master, slave = os.openpty()
    path = Path(os.ttyname(slave))
    os.close(slave)
    ends = [master]
    yield ends, path
    for end in ends:
        os.close(end)


@pytest.fixture
def controls(monkeypatch):
    """Requests to set a control line, as pyserial makes them."""
    from serial import serialposix

    made = []
    true_ioctl = fcntl.ioctl

    def ioctl(descriptor, request, *rest):
        if request in CONTROL_LINES:
            made.append(request)
            return None
        return true_ioctl(descriptor, request, *rest)

    monkeypatch.setattr(serialposix.fcntl, "ioctl", ioctl)
    return made


@pytest.mark.parametrize("rtscts", [False, True])
def test_opening_and_closing_touches_neither_dtr_nor_rts(terminal, controls, rtscts):
    import serial

    _, path = terminal
    open_serial_port(path, baud=3_000_000, rtscts=rtscts).close()
    assert controls == []
    serial.Serial(str(path)).close()
    assert controls != []  # pyserial by itself does


def test_the_lines_stay_up_after_closing(terminal):
    (master,), path = terminal
    open_serial_port(path, baud=115_200, rtscts=False).close()
    assert not termios.tcgetattr(master)[2] & termios.HUPCL


def test_every_byte_value_passes_unchanged_both_ways(terminal):
    (master,), path = terminal
    every = bytes(range(256))
    transport = open_serial_port(path, baud=3_000_000, rtscts=False)
    transport.write(every)
    assert os.read(master, 1000) == every
    os.write(master, every)
    assert transport.read(1000, time.monotonic() + 10) == every
    transport.close()


def test_a_port_in_use_is_refused_and_its_holder_named(terminal):
    _, path = terminal
    first = open_serial_port(path, baud=3_000_000, rtscts=False)
    with pytest.raises(CoreUnavailableError, match=rf"{path} is in use by process {os.getpid()} "):
        open_serial_port(path, baud=3_000_000, rtscts=False)
    first.close()
    open_serial_port(path, baud=3_000_000, rtscts=False).close()


def test_an_unplugged_port_says_so(terminal):
    ends, path = terminal
    transport = open_serial_port(path, baud=3_000_000, rtscts=False)
    os.close(ends.pop())
    with pytest.raises(CoreUnavailableError, match=rf"serial port {path} is gone .*check cable"):
        transport.read(1, time.monotonic() + 10)
    transport.close()


def test_what_is_no_port_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(CoreUnavailableError, match="does not exist; `hil list`"):
        open_chip(f"serial:{tmp_path}/gone")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CoreUnavailableError, match="is no serial port"):
        open_chip(f"serial:{tmp_path}/file")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("serial:", "names no port"),
        ("serial:/dev/x?speed=9600", "unknown option 'speed'; known: baud"),
        ("serial:/dev/x?baud=fast", "not an integer"),
        ("serial:/dev/x?baud=0", "outside 50"),
        ("serial:/dev/x?rtscts=yes", "rtscts='yes' is unknown"),
        ("serial:/dev/x?base_s=-1", "outside"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_opened(address, words):
    with pytest.raises(RequestError, match=words):
        open_chip(address)


def test_deadlines_follow_the_rate_of_the_line():
    timing = serial_timing(9600, base_s=1.0)
    takes_s = 96_000 * 10 / 9600
    assert 1.0 + takes_s < timing.limit_s(96_000, 0.0) < 1.0 + 2 * takes_s
