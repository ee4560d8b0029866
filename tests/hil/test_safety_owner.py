"""H9 and H10, two users and the wrong chip: one owner per serial, and the chip that is meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from hil.backends import open_chip
from hil.chip_records import (
    chip_folder,
    find_serial,
    keeps_records,
    known_chips,
    remember_chip,
    state_folder,
)
from hil.errors import CoreUnavailableError, RecordError, RequestError
from hil.guard import ChipBinding, open_guard
from hil.info import BackendKind
from hil.lease_lock import OwnerLock, holder_of

HOLD = """
import sys, time
from hil.lease_lock import OwnerLock
lock = OwnerLock.acquire(sys.argv[1], ("hil", "program", "w.npy"))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def info():
    with open_chip("sim:hermes?rows=4&cols=4&seed=3") as chip:
        return chip.info


def silicon(info, **changes):
    cores = tuple(c.model_copy(update={"backend": BackendKind.SILICON}) for c in info.cores)
    return info.model_copy(update={"backend": BackendKind.SILICON, "cores": cores, **changes})


def hold(serial):
    child = subprocess.Popen([sys.executable, "-c", HOLD, serial], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    return child


def test_second_process_is_told_who_holds_the_chip_and_a_kill_frees_it():
    child = hold("CHIP-1")
    try:
        with pytest.raises(CoreUnavailableError) as refused:
            OwnerLock.acquire("CHIP-1")
        assert f"process {child.pid}" in str(refused.value)
        assert "hil program w.npy" in str(refused.value)
        assert refused.value.fields["holder"]["pid"] == child.pid
        assert holder_of("CHIP-1").pid == child.pid
        OwnerLock.acquire("CHIP-2").release()
    finally:
        child.kill()
        child.communicate()
    assert holder_of("CHIP-1") is None
    OwnerLock.acquire("CHIP-1").release()


def test_lock_is_one_for_all_addresses_of_a_chip_and_for_threads_of_a_process(info):
    first = silicon(info, address="serial:/dev/ttyUSB0")
    with open_guard(first), pytest.raises(CoreUnavailableError, match="is held by"):
        open_guard(silicon(info, address="tcp:10.0.0.7:5025"))
    open_guard(silicon(info, address="tcp:10.0.0.7:5025")).close()


def test_looking_disturbs_no_one_and_makes_no_file():
    assert holder_of("CHIP-1") is None
    assert not state_folder().exists()
    with OwnerLock.acquire("CHIP-1"):
        assert holder_of("CHIP-1").command == ""


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        (ChipBinding(serial="OTHER-9"), "not OTHER-9; nothing was sent"),
        (ChipBinding(require=BackendKind.SILICON), "silicon is required, but sim answers"),
    ],
    ids=["serial", "silicon"],
)
def test_chip_that_is_not_meant_is_refused_before_anything_is_kept(info, binding, words):
    with pytest.raises(RequestError) as refused:
        open_guard(info, binding=binding)
    assert words in str(refused.value)
    assert info.serial in str(refused.value)
    assert not state_folder().exists()


def test_chip_that_is_meant_is_let_in(info):
    real = silicon(info)
    binding = ChipBinding(serial=info.serial, require=BackendKind.SILICON)
    with open_guard(real, binding=binding) as guard:
        assert guard.info.serial == info.serial


@pytest.mark.parametrize(
    ("address", "backend", "kept"),
    [
        ("sim:hermes?seed=3", BackendKind.SIM, False),
        ("loopback:sim:hermes?seed=3", BackendKind.SIM, False),
        ("loopback:sim:hermes?state=a.safetensors", BackendKind.SIM, True),
        ("sim:hermes?state=a.safetensors", BackendKind.SIM, True),
        ("serial:/dev/ttyUSB0?baud=3000000", BackendKind.SIM, True),
        ("tcp:127.0.0.1:5025", BackendKind.SIM, True),
        ("visa:TCPIP::host::5025::SOCKET", BackendKind.SIM, True),
        ("mine:anything", BackendKind.SILICON, True),
        ("replay:runs/a", BackendKind.REPLAY, False),
    ],
)
def test_records_are_kept_of_chips_that_last(info, address, backend, kept):
    assert keeps_records(info.model_copy(update={"address": address, "backend": backend})) is kept


@pytest.mark.parametrize("serial", ["../../etc", "..", "a/b", "a\\b", ".hidden", "x" * 128, "ä%2F"])
def test_serial_of_any_spelling_stays_in_the_folder_of_the_records(serial):
    folder = chip_folder(serial)
    assert folder.parent == state_folder() / "chips"
    assert not folder.name.startswith(".")
    assert len(folder.name.encode()) <= 255
    others = ["A/B", "a%2Fb", "a_b", "x" * 127 + "/", "hidden", "%2E."]
    assert all(chip_folder(other) != folder for other in others)


def test_card_remembers_addresses_and_another_make_under_its_serial_is_refused(info):
    for address in ("serial:/dev/ttyUSB0", "tcp:h:1", "serial:/dev/ttyUSB0"):
        remember_chip(silicon(info, address=address))
    (card,) = known_chips()
    assert card.addresses == ("tcp:h:1", "serial:/dev/ttyUSB0")
    assert find_serial("tcp:h:1") == find_serial(info.serial) == info.serial
    with pytest.raises(RequestError, match="no records of a chip 'tcp:h:2'"):
        find_serial("tcp:h:2")
    with pytest.raises(RecordError, match="its records are those of a hermes"):
        remember_chip(silicon(info, model="aon"))


def test_state_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HIL_STATE", str(tmp_path / "file"))
    with pytest.raises(RecordError, match="set HIL_STATE to a folder"):
        OwnerLock.acquire("CHIP-1")


def test_state_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("HIL_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert state_folder() == Path("/somewhere/aimc-hil")
