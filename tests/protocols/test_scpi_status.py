"""SCPI status: events, masks, summary bits, and an error queue that cannot grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.wire.scpi_errors import STANDARD_TEXTS, ScpiError
from protocols.wire.scpi_status import QUEUE_LENGTH, Event, EventRegister, StatusModel

CLASSES = {1: Event.COMMAND_ERROR, 2: Event.EXECUTION_ERROR, 3: Event.DEVICE_ERROR}
BYTE = {"message_available": False}


@pytest.mark.parametrize("number", STANDARD_TEXTS)
def test_an_error_sets_the_event_of_its_class(number):
    status = StatusModel()
    assert status.take_events() == Event.POWER_ON
    status.report(ScpiError(number, "detail"))
    assert status.take_events() == CLASSES.get(-number // 100, Event.QUERY_ERROR)
    assert status.take_events() == 0
    error = status.take_error()
    assert (error.number, error.text) == (number, f"{STANDARD_TEXTS[number]}; detail")


@given(st.sampled_from(sorted(STANDARD_TEXTS)), st.integers(0, 3 * QUEUE_LENGTH))
def test_the_queue_keeps_the_oldest_and_says_that_it_was_full(first, count):
    status = StatusModel()
    known = sorted(STANDARD_TEXTS)
    numbers = [known[(known.index(first) + k) % len(known)] for k in range(count)]
    for number in numbers:
        status.report(ScpiError(number))
        assert status.errors <= QUEUE_LENGTH
    read = [status.take_error().number for _ in range(status.errors)]
    if len(numbers) <= QUEUE_LENGTH:
        assert read == numbers
    else:
        assert read == [*numbers[: QUEUE_LENGTH - 1], -350]
    assert status.take_error().number == 0


@given(st.integers(0, 255), st.integers(0, 255), st.booleans())
def test_the_master_summary_is_the_masked_byte(event_enable, service_enable, available):
    status = StatusModel()
    status.event_enable, status.service_enable = event_enable, service_enable
    status.report(ScpiError(-222))
    byte = status.status_byte(message_available=available)
    assert bool(byte & 4)
    assert bool(byte & 16) == available
    assert bool(byte & 32) == bool(event_enable & (Event.POWER_ON | Event.EXECUTION_ERROR))
    assert bool(byte & 64) == bool(byte & ~64 & service_enable)
    assert status.service_enable == service_enable & ~64


def test_clearing_forgets_events_and_errors_and_keeps_the_masks():
    status = StatusModel()
    status.event_enable, status.service_enable = 255, 32
    status.operation.enable = 1
    status.operation.update(1)
    status.report(ScpiError(-113))
    assert status.status_byte(**BYTE) == 4 | 32 | 64 | 128
    status.clear()
    assert status.status_byte(**BYTE) == 0
    assert (status.event_enable, status.service_enable, status.operation.enable) == (255, 32, 1)
    assert status.operation.condition == 1


def test_an_event_is_the_rise_of_a_condition_and_is_read_once():
    register = EventRegister()
    register.update(0x101)
    register.update(0)
    register.update(0x8001)
    assert (register.condition, register.take_event(), register.take_event()) == (1, 0x101, 0)
    register.update(1)
    assert register.take_event() == 0


def test_summaries_follow_their_enable_masks():
    status = StatusModel()
    status.questionable.update(2)
    assert status.status_byte(**BYTE) & 8 == 0
    status.questionable.enable = 2
    assert status.status_byte(**BYTE) & 8 == 8
    status.preset()
    assert status.status_byte(**BYTE) & 8 == 0


def test_completion_is_an_event():
    status = StatusModel()
    status.take_events()
    status.set_event(Event.OPERATION_COMPLETE)
    assert status.take_events() == 1
