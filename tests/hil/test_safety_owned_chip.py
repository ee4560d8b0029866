"""A chip is used outside of sessions by its owner alone; its log names who was driven off it."""

import subprocess
import sys
from dataclasses import replace

import pytest

from hil import backends
from hil.audit import AUDIT_FILE, read_audit, verify_audit
from hil.chip_records import chip_folder, is_shared, keeps_records
from hil.errors import CoreUnavailableError
from hil.lease_lock import OwnerLock, holder_of
from hil.owned_chip import open_noted, open_owned
from hil.record import new_record
from hil.run_folder import RunFolder
from hil.session import Session
from sim_backend.opening import open_sim

BOARD = "fake:hermes?rows=4&cols=4&seed=7"
HELD_WHILE_SAFE: list[object] = []


def open_fake(address):
    """A simulated chip that says it is behind a line; "from=NAME" was driven off it."""
    text, _, loser = f"sim:{address.text.partition(':')[2]}".partition("&from=")
    chip = open_sim(backends.parse_address(text))
    for core in chip.cores:
        core.observe(lambda _: HELD_WHILE_SAFE.append(holder_of(chip.serial)))
    info = chip.info.model_copy(update={"address": "tcp:h:1"})
    return replace(chip, info=info, taken_from=loser)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    HELD_WHILE_SAFE.clear()
    monkeypatch.setitem(backends._BUILT_IN, "fake", f"{__name__}:open_fake")


def log_of(serial):
    path = chip_folder(serial) / AUDIT_FILE
    assert verify_audit(path).bad_line is None
    return [(line["event"], line.get("holder")) for line in read_audit(path)]


def test_lock_is_held_until_the_drivers_are_idle_and_everything_is_closed():
    with open_owned(BOARD, command=("hil", "infer")) as chip:
        assert holder_of(chip.serial).command == "hil infer"
        with pytest.raises(CoreUnavailableError, match=r"held by .*hil infer"):
            open_owned(BOARD)
        chip.cores[0].status()
    assert HELD_WHILE_SAFE[-1] is not None  # safe_state came under the lock
    assert holder_of(chip.serial) is None
    assert log_of(chip.serial) == [("opened", None), ("closed", None)]


def test_who_comes_second_changes_nothing_and_leaves_no_lock():
    with open_noted(BOARD) as chip:
        serial = chip.serial
    with OwnerLock.acquire(serial, ("hil", "run")):
        with pytest.raises(CoreUnavailableError, match=r"held by .*hil run"):
            open_owned(BOARD)
        assert holder_of(serial).command == "hil run"
    open_owned(BOARD).close()


@pytest.mark.parametrize("how", ["looked at", "used", "in a session", "refused"])
def test_whoever_is_driven_off_stands_in_the_log(how, tmp_path):
    address = f"{BOARD}&from=ada, process 7"
    with open_noted(BOARD) as chip:
        serial = chip.serial
    if how == "looked at":
        open_noted(address).close()
    elif how == "used":
        open_owned(address).close()
    elif how == "in a session":
        folder = RunFolder.create(tmp_path / "run", new_record("test", command=(), seed=0))
        with Session.open(address, seed=0, folder=folder):
            pass
    else:
        with OwnerLock.acquire(serial), pytest.raises(CoreUnavailableError):
            open_owned(address)
    assert log_of(serial)[0] == ("lease taken over", "ada, process 7")


def test_a_copy_of_a_file_in_this_process_is_nobody_elses(tmp_path):
    with backends.open_chip("sim:hermes?rows=4&cols=4&seed=7") as chip:
        kept = chip.preserve(tmp_path)
    with open_owned(kept) as one, open_owned(kept) as two:
        assert keeps_records(one.info)
        assert not is_shared(one.info)
        assert holder_of(two.serial) is None


def test_infer_is_refused_while_another_process_owns_the_chip(tmp_path, monkeypatch):
    from hil import kept  # noqa: PLC0415

    class Archive:
        address = BOARD

    monkeypatch.setattr(kept, "read_archive", lambda _: Archive)
    monkeypatch.setattr(kept, "build_network", lambda _: None)
    with open_noted(BOARD) as chip:
        serial = chip.serial
    code = (
        "import sys, time; from hil.lease_lock import OwnerLock;"
        "OwnerLock.acquire(sys.argv[1], ('hil', 'run')); print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen((sys.executable, "-c", code, serial), stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"held\n"
        meaning = kept.KeptNetwork.model_construct(network=None)
        with (
            pytest.raises(CoreUnavailableError, match=f"process {child.pid}, .*hil run"),
            kept.resume_deployment(tmp_path, meaning, command="hil infer"),
        ):
            pass
    finally:
        child.kill()
        child.communicate()
