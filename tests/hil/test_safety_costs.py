"""Costs known before a chip is touched: link, chip time and wear agree with what is measured."""

import numpy as np
import pytest

from hil.backends import open_chip
from hil.link_cost import Traffic, framed, link_rate, mvm_traffic, pulse_traffic
from hil.matrix import program_matrix
from hil.plan_costs import Block, costs_of
from hil.programming import ProgrammingJob, algorithm, run_programming
from hil.programming.rehearsal import rehearse
from hil.requests import Window
from protocols.wire.framing import Flags, Frame, Kind, encode_frame
from protocols.wire.objects import object_frames


def info_of(address):
    with open_chip(address) as chip:
        return chip.info


@pytest.fixture(scope="module")
def hermes():
    return info_of("sim:hermes?rows=128&cols=128&seed=11")


@pytest.mark.parametrize("size", [0, 1, 200, 4000, 8000, 8101, 8102, 20_000, 8101 * 5, 300_000])
def test_bytes_of_a_message_are_those_of_the_protocol(size):
    body = np.random.default_rng(size).bytes(size)
    frames = object_frames(Frame(Kind.REQUEST, Flags.NONE, 0x21, 5, 0, 9, 0, body))
    exact = sum(map(len, frames))
    assert framed(size) == pytest.approx(exact, abs=10 * len(frames))
    if size == 1:
        assert exact == len(encode_frame(Frame(Kind.REQUEST, 0, 0x21, 5, 0, 9, 0, body)))


def test_batched_vectors_take_little_more_than_their_codes(hermes):
    core = hermes.cores[0]
    batch = mvm_traffic(core, 1024, 128, 128)
    assert 1.0 < batch.bytes_out / (1024 * 128) < 1.02
    assert 1.125 < batch.bytes_in / (1024 * 128) < 1.15  # eight bits and a flag
    single = mvm_traffic(core, 1, 128, 128)
    assert 1024 * single.bytes_out > 1.3 * batch.bytes_out


def test_pulses_are_counted_entry_by_entry(hermes):
    core = hermes.cores[0]
    few, many = pulse_traffic(core, 10_000), pulse_traffic(core, 20_000)
    assert 1.9 < many.bytes_out / few.bytes_out < 2.1
    assert many.bytes_in == few.bytes_in


@pytest.mark.parametrize(
    ("address", "given", "rate"),
    [
        ("serial:/dev/ttyUSB0?baud=3000000", None, 300e3),
        ("serial:/dev/ttyUSB0", None, 11_520),
        ("tcp:127.0.0.1:5025", None, None),
        ("tcp:127.0.0.1:5025?rate=1000", None, 1000),
        ("sim:hermes", None, None),
        ("sim:hermes", 5e6, 5e6),
    ],
)
def test_rate_of_a_link_is_given_or_that_of_its_address(address, given, rate):
    assert link_rate(address, given) == rate


def test_time_on_the_link_is_that_of_the_fuller_way():
    assert Traffic(3_000, 1_000).seconds(1_000.0) == 3.0
    assert Traffic(3_000, 9_000).seconds(1_000.0) == 9.0


@pytest.mark.parametrize("method", ["verify", "gdp", "open_loop"])
def test_rehearsed_pulses_are_those_of_another_chip_and_matrix(hermes, method):
    chosen = algorithm(method)
    predicted = costs_of([Block(core=0, rows=128, cols=96)], hermes, [chosen]).methods[0]
    with open_chip(hermes.address) as chip:
        core = chip.cores[0]
        weights = np.random.default_rng(5).laplace(size=(128, 96))
        target = weights / np.abs(weights).max() * core.info.device.g_max_siemens
        block = Window(row=0, col=0, rows=128, cols=96)
        job = ProgrammingJob(core=core, window=block, target_siemens=target)
        (result,) = run_programming(chosen, [job], seed=2)
    assert predicted.pulses_per_device == pytest.approx(result.pulses.mean(), rel=0.35)
    assert result.pulses.max() <= predicted.worst_per_device
    assert result.pulses.sum() <= predicted.worst_pulses
    # How often gradient descent looks again depends on the matrix, this one with heavy tails.
    assert result.chip_s <= 2.0 * predicted.chip_s + 1e-3


def test_a_model_that_nobody_simulates_has_bounds_but_no_prediction(hermes):
    strange = hermes.model_copy(
        update={
            "model": "mystery",
            "cores": tuple(c.model_copy(update={"model": "mystery"}) for c in hermes.cores),
        }
    )
    assert rehearse(algorithm("verify"), strange.cores[0]) is None
    costs = costs_of([Block(core=0, rows=8, cols=8)], strange, [algorithm("verify")])
    (method,) = costs.methods
    assert (method.pulses, method.chip_s, method.rehearsed) == (None, None, False)
    assert method.worst_pulses == 32 * 8 * 8 * 4
    assert costs.wear.predicted_of_a_device is None


def test_open_loop_is_predicted_exactly(hermes):
    with open_chip(hermes.address) as chip:
        program_matrix(chip, np.ones((40, 30)), "open_loop", calibrate=False, settle_s=0.0)
        sent = chip.cores[0].status().pulses
    costs = costs_of([Block(core=0, rows=40, cols=30)], hermes, [algorithm("open_loop")])
    assert costs.methods[0].pulses == costs.methods[0].worst_pulses == sent
