"""What every core owes at its end: closing, a time-out, opening again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hil import CellRead, Chip, Core, CoreSettings, CoreUnavailableError, MvmRequest
from hil.conformance.requests import one_pulse
from hil.errors import CoreTimeoutError
from hil.info import Capability

Call = Callable[[Core], object]

VERBS: dict[str, Call] = {
    "program": lambda core: core.program(one_pulse(core.info)),
    "read": lambda core: core.read(CellRead.of(device=0, rows=0, cols=0)),
    "mvm": lambda core: core.mvm(MvmRequest(input_codes=np.zeros((1, core.info.rows), np.int16))),
    "configure": lambda core: core.configure(CoreSettings(output_range=0)),
    "status": lambda core: core.status(),
    "settings": lambda core: core.settings(),
    "wait": lambda core: core.wait(0.0),
    "now_s": lambda core: core.now_s(),
    "safe_state": lambda core: core.safe_state(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_closed_core_refuses_every_verb(chip: Chip, verb: str) -> None:
    core = chip.cores[0]
    core.close()
    with pytest.raises(
        CoreUnavailableError, match=f"core 0 of chip {core.info.chip_serial} is closed; open"
    ):
        VERBS[verb](core)


@pytest.mark.parametrize("verb", VERBS)
def test_after_a_time_out_a_core_refuses_every_verb_until_reopened(
    open_board: Callable[[], Chip], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    chip = open_board()
    core = chip.cores[0]

    def lost(*_: object) -> None:
        raise CoreTimeoutError("no reply")

    with monkeypatch.context() as broken:
        broken.setattr(core, "_do_status", lost)
        with pytest.raises(CoreTimeoutError, match="no reply"):
            core.status()
    with pytest.raises(
        CoreUnavailableError, match="did not answer in time and its state is unknown; open the chip"
    ) as caught:
        VERBS[verb](core)
    assert isinstance(caught.value.__cause__, CoreTimeoutError)
    chip.close()
    again = open_board().cores[0]
    if verb != "program" and (verb != "read" or Capability.CELL_READ in again.info.capabilities):
        VERBS[verb](again)


def test_close_twice_is_fine_and_leaves_the_other_cores_open(chip: Chip) -> None:
    chip.cores[0].close()
    chip.cores[0].close()
    for core in chip.cores[1:]:
        assert core.now_s() >= 0.0
    chip.close()
    chip.close()


def test_leaving_the_chip_closes_it_also_after_an_error(open_board: Callable[[], Chip]) -> None:
    class WentWrongError(Exception):
        pass

    chip = open_board()
    with pytest.raises(WentWrongError), chip:
        raise WentWrongError
    with pytest.raises(CoreUnavailableError):
        chip.cores[0].status()


def test_a_chip_can_be_opened_again_and_says_the_same(open_board: Callable[[], Chip]) -> None:
    infos = []
    for _ in range(2):
        with open_board() as chip:
            infos.append(chip.info.model_copy(update={"address": ""}))
    assert infos[0] == infos[1]
