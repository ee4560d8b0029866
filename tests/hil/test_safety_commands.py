"""H1, H18, H20 at the command line: chips are shown as known, and no port is opened for it."""

import json
import socket
import sys

import pytest

from hil.audit import AUDIT_FILE
from hil.backends import open_chip
from hil.chip_records import chip_folder, state_folder
from hil.guard import open_guard
from hil.info import BackendKind, PulseFamily
from hil.requests import Outcome, Pulse

SERIAL = "SIM-HERMES-0000003"

OPENED: list[str] = []
LISTENING: list[bool] = []


def _listen(event, arguments):
    if LISTENING and event in ("open", "socket.connect", "subprocess.Popen"):
        OPENED.append(f"{event} {arguments[0]}")


sys.addaudithook(_listen)


@pytest.fixture
def opened():
    """Everything that Python opens from now on, as the interpreter's own audit events say."""
    OPENED.clear()
    LISTENING.append(True)
    yield OPENED
    LISTENING.clear()


@pytest.fixture
def chip():
    """A chip that lasts, with 6 RESET pulses to core 1 behind it."""
    with open_chip("sim:hermes?rows=8&cols=8&cores=2&seed=3") as made:
        info = made.info.model_copy(
            update={"backend": BackendKind.SILICON, "address": "serial:/dev/ttyUSB7?baud=3000000"}
        )
    pulse = Pulse.of(
        PulseFamily.RESET, device=0, rows=[0, 1, 2], cols=0, amplitude=5, width=1, count=2
    )
    with open_guard(info, command=("hil", "program", "--yes")) as guard:
        guard.admit(1, pulse)
        guard.applied(1, pulse, Outcome.DONE)
    return info


def test_list_shows_chips_ports_and_holders_and_opens_no_port(hil, chip, opened, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    with open_guard(chip, command=("hil", "calibrate")):
        code, out, err = hil("list")
    said = json.loads(out)
    (found,) = said["chips"]
    assert code == 0
    assert found["serial"] == SERIAL
    assert found["addresses"] == [chip.address]
    assert found["holder"]["command"] == "hil calibrate"
    assert "hil calibrate" in err
    assert any(AUDIT_FILE in path for path in opened)  # the ears work
    assert [path for path in opened if "/dev/" in path or not path.startswith("open ")] == []


def test_list_shows_ports_by_their_usb_descriptors(hil, monkeypatch):
    from serial.tools import list_ports, list_ports_common

    port = list_ports_common.ListPortInfo("/dev/ttyUSB3")
    port.vid, port.pid, port.serial_number = 0x0403, 0x6014, "FT1234"
    port.manufacturer, port.product = "FTDI", "Single RS232-HS"
    monkeypatch.setattr(list_ports, "comports", lambda: [port])
    _, out, err = hil("list")
    assert json.loads(out)["ports"] == [
        {
            "address": "serial:/dev/ttyUSB3",
            "description": "FTDI Single RS232-HS",
            "hardware": "0403:6014",
            "serial": "FT1234",
        }
    ]
    assert "0403:6014" in err


def test_list_of_a_new_machine_makes_nothing(hil):
    code, out, err = hil("list")
    assert (code, json.loads(out)["chips"]) == (0, [])
    assert "no chip has records" in err
    assert not state_folder().exists()


@pytest.mark.parametrize("name", [SERIAL, "serial:/dev/ttyUSB7?baud=3000000"])
def test_wear_is_shown_by_serial_or_address_against_its_budgets(hil, chip, name, opened):
    code, out, err = hil("wear", name)
    said = json.loads(out)
    assert (code, said["serial"], said["pulses"]) == (0, chip.serial, 6)
    row = next(r for r in said["cores"] if (r["core"], r["family"]) == (1, "reset"))
    assert (row["pulses"], row["devices"], row["most"], row["mean"]) == (6, 3, 2, 2.0)
    assert said["budget"]["pulses_per_device"] == 1_000_000
    assert "pulses_per_device 1,000,000" in err
    assert not [path for path in opened if "/dev/ttyUSB7" in path]


def test_wear_of_a_chip_without_records_is_refused(hil, chip):
    code, _, err = hil("wear", "tcp:elsewhere:1")
    assert code == 2
    assert chip.serial in err


def test_audit_verify_and_show(hil, chip):
    code, out, _ = hil("audit", "verify", SERIAL)
    assert (code, json.loads(out)["logs"][0]["lines"]) == (0, 2)
    code, out, err = hil("audit", "show")
    events = [line["event"] for line in json.loads(out)["lines"]]
    assert (code, events) == (0, ["opened", "closed"])
    assert "'pulses': 6" in err
    log = chip_folder(chip.serial) / AUDIT_FILE
    log.write_bytes(log.read_bytes().replace(b'"pulses":6', b'"pulses":5'))
    for which in ([], [SERIAL], [log]):
        code, out, err = hil("audit", "verify", *which)
        assert (code, json.loads(out)["logs"][0]["bad_line"]) == (1, 2)
        assert "line 2 is bad" in err


def test_audit_of_nothing_is_said(hil, tmp_path):
    assert hil("audit", "verify")[0] == 0
    code, _, err = hil("audit", "verify", tmp_path / "nowhere.jsonl")
    assert code == 2
    assert "nowhere.jsonl" in err
