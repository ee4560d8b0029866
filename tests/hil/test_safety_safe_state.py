"""H4, power sequence: exception and signal reach the safe state; a second one cannot stop it."""

import os
import signal

import pytest

from hil import backends
from hil.backends import open_chip
from hil.cli_signals import stop_on_signals
from hil.errors import CoreUnavailableError
from hil.guard import open_guard
from hil.lease_lock import holder_of
from hil.record import new_record
from hil.run_folder import RunFolder
from hil.session import Session
from sim_backend.opening import open_sim

FAKE = "fake:hermes?rows=4&cols=4&seed=7"
VERBS: list[str] = []


def open_fake(address):
    """A simulated chip that notes its verbs, and lasts."""
    text = f"sim:{address.text.partition(':')[2]}"
    chip = open_sim(backends.parse_address(text))
    for core in chip.cores:
        core.observe(lambda event: VERBS.append(event.verb))
    chip.info = chip.info.model_copy(update={"address": "serial:/dev/ttyUSB7"})
    return chip


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Open a session on a chip that lasts; where it is left, the chip must be safe and free."""
    VERBS.clear()
    monkeypatch.setitem(backends._BUILT_IN, "fake", f"{__name__}:open_fake")
    record = new_record("test", command=("python", "mine.py"), seed=0)
    return Session.open(FAKE, seed=0, folder=RunFolder.create(tmp_path / "run", record))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_any_exception_leaves_the_chip_safe_and_its_lock_free(session, error):
    def use():
        with session:
            assert holder_of(session.chip.serial).command == "python mine.py"
            raise error

    with pytest.raises(error):
        use()
    assert VERBS[-1] == "safe_state"
    assert holder_of(session.chip.serial) is None


@pytest.fixture(autouse=True)
def heard():
    """A test run in the background was started to ignore some signals, which then stay ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stopping_signal_leaves_the_chip_safe(session, number):
    def use():
        with stop_on_signals(), session:
            os.kill(os.getpid(), number)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        use()
    assert VERBS[-1] == "safe_state"


def stopped_while_making_safe(*further):
    """Whether making safe came to its end although these signals came in between."""
    made_safe = []

    def use():
        with stop_on_signals():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                for number in further:
                    os.kill(os.getpid(), number)
                made_safe.append(True)

    with pytest.raises(KeyboardInterrupt):
        use()
    return bool(made_safe)


def test_second_signal_does_not_break_into_making_safe_and_a_third_does(capsys):
    assert stopped_while_making_safe(signal.SIGTERM)
    assert "once more gives that up" in capsys.readouterr().err
    assert not stopped_while_making_safe(signal.SIGINT, signal.SIGINT)


def test_ignored_signals_stay_ignored_and_handlers_come_back():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGINT) is not interrupt
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGHUP, before)


def test_second_session_on_a_chip_is_refused_and_the_first_goes_on(session, tmp_path):
    with session:
        record = new_record("test", command=(), seed=0)
        with pytest.raises(CoreUnavailableError, match=r"held by .*python mine.py"):
            Session.open(FAKE, seed=0, folder=RunFolder.create(tmp_path / "b", record))
        session.chip.cores[0].status()


def test_guard_that_cannot_open_holds_nothing(monkeypatch):
    with open_chip("sim:hermes?rows=4&cols=4") as chip:
        info = chip.info.model_copy(update={"address": "tcp:h:1"})

    def full(*_args, **_values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hil.guard.append_audit", full)
    with pytest.raises(OSError, match="No space"):
        open_guard(info)
    assert holder_of(info.serial) is None
