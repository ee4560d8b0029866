"""H22, unknown start state: what a chip was left with is compared, re-applied or refused."""

import json
import sys

import numpy as np
import pytest

from hil import backends
from hil.audit import AUDIT_FILE, read_audit
from hil.chip_records import chip_folder
from hil.cli import main
from hil.core import CoreSettings, Outcome
from hil.errors import DeviceFaultError, RecordError
from hil.info import BackendKind, PulseFamily
from hil.record import new_record
from hil.requests import Pulse
from hil.run_folder import RunFolder
from hil.session import Session
from sim_backend.opening import open_sim

SERIAL = "SIM-HERMES-0000007"
PULSE = Pulse.of(PulseFamily.RESET, device=0, rows=0, cols=0, amplitude=5, width=1)
STANDING = {}


def open_board(address):
    """The one silicon board on the bench: it keeps cells and settings while nobody has it open."""
    if "chip" not in STANDING:
        chip = open_sim(backends.parse_address("sim:hermes?rows=4&cols=4&cores=2&seed=7"))
        kind = {"backend": address.options.get("kind", BackendKind.SILICON)}
        for core in chip.cores:
            core._info = core.info.model_copy(update={"backend": BackendKind(kind["backend"])})
        infos = tuple(core.info for core in chip.cores)
        chip.info = chip.info.model_copy(
            update={"backend": infos[0].backend, "address": "serial:/dev/x", "cores": infos}
        )
        STANDING["chip"] = chip
    chip = STANDING["chip"]
    chip._closed = False
    for core in chip.cores:
        core._closed = False
    return chip


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Open a session on the board and do something in it."""
    STANDING.clear()
    monkeypatch.setitem(backends._BUILT_IN, "board", f"{__name__}:open_board")

    def run(work=lambda chip: None, address="board:it"):
        record = new_record("test", command=("python", "mine.py"), seed=0)
        folder = RunFolder.create(tmp_path / "run", record)
        with Session.open(address, seed=0, folder=folder) as session:
            return work(session.chip)

    return run


def bench():
    return open_board(backends.parse_address("board:it")).cores


def trims(shift):
    return CoreSettings(output_range=2, gain_trim=np.arange(4, dtype=np.int16) - shift)


def test_chip_that_is_as_it_was_left_is_left_alone(use):
    use(lambda chip: chip.cores[1].configure(trims(1)))
    use(lambda chip: chip.cores[0].program(PULSE))
    use()
    events = [line["event"] for line in read_audit(chip_folder(SERIAL) / AUDIT_FILE)]
    assert events == ["opened", "closed"] * 3


def test_settings_that_somebody_changed_are_re_applied_and_said(use):
    use(lambda chip: chip.cores[1].configure(trims(1)))
    bench()[1].configure(CoreSettings(output_range=5, gain_trim=np.zeros(4, np.int16)))
    found = use(lambda chip: chip.cores[1].settings())
    assert found.output_range == 2
    np.testing.assert_array_equal(found.gain_trim, trims(1).gain_trim)
    (said,) = [
        line
        for line in read_audit(chip_folder(SERIAL) / AUDIT_FILE)
        if line["event"] == "settings re-applied"
    ]
    assert said["cores"] == [{"core": 1, "settings": ["output_range", "gain_trim"]}]


def test_settings_that_do_not_come_back_are_refused(use, monkeypatch):
    use(lambda chip: chip.cores[0].configure(trims(1)))
    core = bench()[0]
    core.configure(CoreSettings(output_range=5))
    monkeypatch.setattr(core, "_do_configure", lambda settings: None)
    with pytest.raises(DeviceFaultError, match="other output_range and does not take it back"):
        use()


def test_silicon_that_was_pulsed_without_records_is_refused_before_anything_else(use):
    use(lambda chip: chip.cores[0].program(PULSE))
    bench()[0].program(PULSE)
    with pytest.raises(RecordError, match="counts 2 pulse requests, its record 1"):
        use(lambda chip: chip.cores[0].program(PULSE))
    assert bench()[0].status().generation == 2


def test_adopt_takes_the_chip_as_it_is_and_logs_that_it_was_forced(use, monkeypatch, capsys):
    use()
    bench()[1].program(PULSE)
    with pytest.raises(RecordError, match="hil adopt"):
        use()
    monkeypatch.setattr(sys, "argv", ["hil", "adopt", "board:it"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert json.loads(capsys.readouterr().out)["generations"] == [0, 1]
    use()
    events = [line["event"] for line in read_audit(chip_folder(SERIAL) / AUDIT_FILE)]
    assert "forced: taken as it is" in events


def test_simulated_board_that_began_anew_is_let_in(use):
    use(lambda chip: chip.cores[0].program(PULSE), "board:it?kind=sim")
    STANDING.clear()
    assert (
        use(lambda chip: chip.cores[0].program(PULSE).outcome, "board:it?kind=sim") is Outcome.DONE
    )


def test_after_a_session_that_failed_more_pulses_are_expected_but_not_fewer(use):
    def fail(chip):
        chip.cores[0].program(PULSE)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        use(fail)
    use(lambda chip: chip.cores[0].program(PULSE))
    STANDING.clear()
    with pytest.raises(RecordError, match="has lost its counts"):
        use()


def test_damaged_record_of_the_state_is_said(use):
    use()
    (chip_folder(SERIAL) / "state.json").write_text("{")
    with pytest.raises(RecordError, match="it is damaged; hil adopt"):
        use()
