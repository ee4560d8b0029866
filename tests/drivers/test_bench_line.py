"""Benchmarks of the line: they measure what they say, and catch the devices that break a law."""

from itertools import pairwise

import numpy as np
import pytest

from drivers.bench import board_faults as whole_board
from drivers.bench import link_faults as bare_link
from drivers.bench.bad_line import BadLine
from drivers.bench.faults import bench_faults
from drivers.bench.framing_cost import efficiency
from drivers.bench.fuzz import Seen, bench_fuzz
from drivers.bench.instant_device import InstantDevice, ideal_answer
from drivers.bench.link import _parts, _rate, _requests
from drivers.bench.socket_host import device_process, mvm_request
from drivers.dispatcher import Dispatcher
from drivers.verbs import pulse_of
from hil.errors import DeviceFaultError, RequestError
from hil.progress import Silent


def run_link(frames=3000, rate=0.05, seed=1):
    with Silent().task("") as task:
        return bare_link.link_faults(frames, rate, seed, task)


def run_board(frames=600, rate=0.02, seed=1):
    with Silent().task("") as task:
        return whole_board.board_faults(frames, rate, seed, task)


def test_a_line_without_faults_passes_what_it_is_given():
    line = BadLine(0.0, seed=0, direction=0)
    data = b"".join(bytes([k + 1] * k) + b"\x00" for k in range(50))
    assert b"".join(line.feed(data)) == data
    assert line.flush() == []
    assert line.counts.frames == 50


def test_a_bad_line_strikes_each_fault_about_as_often_as_asked():
    line, rate, frames = BadLine(0.1, seed=3, direction=1), 0.1, 4000
    sent = [b"%d-%d\x00" % (k, k * k) for k in range(frames)]
    arrived = b"".join(b"".join(line.feed(frame)) for frame in sent) + b"".join(line.flush())
    spread = 5 * np.sqrt(rate * (1 - rate) / frames)
    for name in ("lost", "flipped", "duplicated", "split"):
        assert abs(getattr(line.counts, name) / frames - rate) < spread
    assert abs(line.reordered / frames - rate) < spread
    whole = arrived.split(b"\x00")
    known = {frame[:-1]: k for k, frame in enumerate(sent)}
    order = [known[frame] for frame in whole if frame in known]
    assert any(a > b for a, b in pairwise(order))
    assert len(set(order)) > 0.75 * frames


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2])
def test_the_link_keeps_its_laws(rate):
    found = run_link(rate=rate)
    assert found.lawful
    assert found.answered == found.requests > 100
    assert found.faults.frames >= 3000
    assert (found.faults.lost > 0) == (rate > 0)


def test_a_device_that_applies_a_request_twice_is_caught(monkeypatch):
    genuine = InstantDevice.execute

    def execute(self, incoming):
        if self.executed == 200:
            genuine(self, incoming)
        return genuine(self, incoming)

    monkeypatch.setattr("drivers.bench.link_faults._MUTATION_SHARE", 1.0)
    monkeypatch.setattr(InstantDevice, "execute", execute)
    found = run_link()
    assert not found.lawful
    assert found.twice


def test_a_core_that_answers_wrongly_once_is_caught(monkeypatch):
    genuine, calls = InstantDevice.execute, []

    def execute(self, incoming):
        calls.append(incoming)
        if len(calls) == 300:
            return genuine(self, calls[298])
        return genuine(self, incoming)

    monkeypatch.setattr(InstantDevice, "execute", execute)
    found = run_link(rate=0.0)
    assert found.wrong == 1
    assert not found.lawful


def test_a_line_that_passes_nothing_ends_in_a_violation(monkeypatch):
    monkeypatch.setattr(BadLine, "feed", lambda self, data: [])
    found = run_link(frames=100)
    assert "end in nothing" in found.first_violation


def test_the_whole_board_keeps_its_laws_also_over_resets():
    found = run_board()
    assert found.lawful, found.first_violation
    assert found.answered + found.unknown == found.requests
    assert found.resets > 0
    assert found.mutations > 10


def test_a_board_that_applies_an_interrupted_request_again_is_caught(monkeypatch):
    genuine = Dispatcher.power_cycle

    def careless(self):
        job, _ = self._running
        genuine(self)
        core = self.chip.cores[job.core]
        core.program(pulse_of(core, job.message))

    monkeypatch.setattr(Dispatcher, "power_cycle", careless)
    found = run_board(frames=2000)
    assert not found.lawful
    assert found.twice


def test_a_rate_no_session_survives_is_refused():
    with pytest.raises(RequestError, match="outside"):
        bench_faults(frames=10, rate=0.5)


def test_rates_and_parts_are_of_real_exchanges():
    requests = _requests(np.random.default_rng(0), 1)[:40]
    rate = _rate(requests, 4, 0.0)
    assert rate.requests_per_s_best >= rate.requests_per_s > 0
    assert rate.sent_mb_per_s == pytest.approx(rate.requests_per_s * 256e-6)
    assert rate.host_cpu_s > 0
    assert rate.device_cpu_s > 0
    parts = _parts(requests)
    shares = parts.model_dump(exclude={"batch", "round_trip_s"}).values()
    assert sum(shares) == pytest.approx(parts.round_trip_s)
    assert min(shares) > 0


def test_a_wrong_reply_is_no_measurement(monkeypatch):
    request = mvm_request(bytes(range(256)))
    with device_process(window=1, batch=1) as (host, _):
        host.exchange([request], window=1)
        monkeypatch.setattr("drivers.bench.socket_host.ideal_answer", lambda codes: codes)
        with pytest.raises(DeviceFaultError, match="wrong reply"):
            host.exchange([request], window=1)


def test_no_two_inputs_have_the_same_answer():
    answers = {ideal_answer(bytes([a, b, c])) for a in range(3) for b in range(3) for c in range(3)}
    assert len(answers) == 27


def test_framing_costs_less_the_more_vectors_cross_at_once():
    rng = np.random.default_rng(0)
    shares = [efficiency(batch, rng) for batch in (1, 16, 31, 1000)]
    assert [s.request for s in shares] == sorted(s.request for s in shares)
    assert 0.75 < shares[0].request < 0.9
    assert min(shares[-1].request, shares[-1].reply) > 0.99


def test_a_finding_ends_its_round_names_its_seed_and_is_counted():
    def fragile(seed, until):
        assert not until() or seed
        if seed % 2:
            raise ZeroDivisionError("odd")
        return Seen(3, 30, 2, 5)

    found = bench_fuzz(seconds=0.01, seed=1, targets={"fragile": fragile})
    (target,) = found.targets
    assert not found.lawful
    assert target.rounds == target.failures + target.cases // 3
    assert "seed 1: ZeroDivisionError: odd" in target.first_failures[0]


def test_both_decoders_are_fuzzed():
    found = bench_fuzz(seconds=0.4)
    assert found.lawful, [t.first_failures for t in found.targets]
    assert all(t.cases and t.peak_bytes for t in found.targets)
