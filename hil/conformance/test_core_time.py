"""What every core owes to time and to observers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hil import BackendKind, Chip, CoreSettings, MvmRequest, RequestError
from hil.conformance.board import Board
from hil.conformance.requests import one_pulse
from hil.core import VerbEvent

SHORT_S = 0.01
"""A wait that a bench can afford, s."""
LONG_S = 86_400.0


def codes(chip: Chip, batch: int = 2) -> MvmRequest:
    return MvmRequest(input_codes=np.ones((batch, chip.cores[0].info.rows), np.int16))


@pytest.mark.pulses(at_most=1)
def test_wait_zero_changes_nothing(board: Board, chip: Chip) -> None:
    core = chip.cores[0]
    core.program(one_pulse(chip.cores[0].info))
    before, after, status = core.status(), core.wait(0.0), core.status()
    assert replace(status, now_s=before.now_s) == before
    assert before.now_s <= after <= status.now_s
    if board.facts.fresh and board.facts.info.backend is BackendKind.SIM:
        assert before.now_s == after == status.now_s  # elsewhere time passes by itself


def test_wait_passes_the_time_asked_for_on_every_core(board: Board, chip: Chip) -> None:
    seconds = SHORT_S if board.facts.silicon else LONG_S
    before = chip.now_s()
    after = chip.cores[0].wait(seconds)
    assert before + seconds * (1 - 1e-9) <= after <= before + seconds + 1.0
    for core in chip.cores:
        assert after <= core.now_s() <= after + 1.0
    assert chip.wait(0.0) >= after


@pytest.mark.pulses(at_most=1)
def test_time_never_runs_back_and_work_takes_time(chip: Chip) -> None:
    core = chip.cores[-1]
    times = [core.now_s()]
    times.append(core.program(one_pulse(core.info)).at_s)
    times.append(core.now_s())
    times.append(core.mvm(codes(chip)).at_s)
    times.append(core.wait(1e-9))
    core.configure(CoreSettings(output_range=0))
    times.append(core.now_s())
    core.safe_state()
    times.append(core.status().now_s)
    assert times == sorted(times)
    assert times[1] > times[0]
    assert times[3] > times[2]


def test_a_longer_batch_takes_longer(chip: Chip) -> None:
    core = chip.cores[0]
    took = []
    for batch in (1, 64):
        before = core.now_s()
        took.append(core.mvm(codes(chip, batch)).at_s - before)
    assert took[1] > took[0] > 0.0


@pytest.mark.pulses(at_most=1)
def test_observers_see_each_verb_once_in_order(chip: Chip) -> None:
    core = chip.cores[0]
    seen: list[VerbEvent] = []
    also: list[str] = []

    def note(event: VerbEvent) -> None:
        also.append(event.verb)

    core.observe(seen.append)
    core.observe(note)
    pulse, mvm, settings = one_pulse(core.info), codes(chip), CoreSettings(output_range=0)
    programmed = core.program(pulse)
    multiplied = core.mvm(mvm)
    core.configure(settings)
    core.now_s()
    status = core.status()
    core.settings()
    core.wait(1.0)
    core.safe_state()
    with pytest.raises(RequestError):
        core.wait(-1.0)
    verbs = ["program", "mvm", "configure", "status", "settings", "wait", "safe_state"]
    assert [event.verb for event in seen] == also == verbs
    assert [event.request for event in seen[:3]] == [pulse, mvm, settings]
    assert [event.result for event in seen[:4]] == [programmed, multiplied, None, status]
    assert all(event.error is None and event.core == core.info.core for event in seen)
    core.unobserve(note)
    core.unobserve(note)
    core.status()
    assert (len(seen), len(also)) == (8, 7)


def test_observers_of_one_core_see_no_other(chip: Chip) -> None:
    seen: list[VerbEvent] = []
    chip.cores[0].observe(seen.append)
    for core in chip.cores[1:]:
        core.status()
    assert seen == []


def test_the_safe_state_is_told_and_left_by_configure(chip: Chip) -> None:
    core = chip.cores[0]
    core.safe_state()
    core.safe_state()
    assert core.status().safe
    core.configure(CoreSettings(output_range=0))
    assert not core.status().safe
    chip.safe_state()
    assert all(core.status().safe for core in chip.cores)
