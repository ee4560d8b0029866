"""Benchmarks measure what they say: both sides, in turn, on one thread and on all."""

import json

import pytest
import torch

from hil.bench import bench_loopback, bench_mvm, bench_program
from hil.bench.loopback import first_difference
from hil.bench.machine import Machine, torch_threads
from hil.errors import RequestError

TINY = "sim:pcm90?rows=32&cols=24&seed=2"
CORE = "sim:hermes?devices=1&rows=32&cols=16&seed=3"


@pytest.fixture
def hil(hil):
    """Run a command in an empty directory: (exit code, its JSON line)."""

    def run(*args):
        code, out, _ = hil(*args)
        assert out.count("\n") == 1
        return code, json.loads(out)

    return run


def test_mvm_times_are_ratios_of_medians_by_thread_count_and_batch():
    found = bench_mvm(TINY, batches=(1, 8), repeats=30)
    assert [(t.threads, t.batch) for t in found.timings][:2] == [(1, 1), (1, 8)]
    for timing in found.timings:
        assert timing.ratio == pytest.approx(timing.core_s / timing.matmul_s)
        assert timing.ratio_quartiles[0] <= timing.ratio_quartiles[1]
    assert found.worst_ratio(8) == max(t.ratio for t in found.timings if t.batch == 8)
    assert found.first_s > 0
    assert (found.rows, found.cols, found.model) == (32, 24, "pcm90")


def test_an_mvm_benchmark_that_would_say_nothing_is_refused():
    with pytest.raises(RequestError, match="below 30"):
        bench_mvm(TINY, repeats=29)
    with pytest.raises(RequestError, match=r"outside 1\.\.\.4096"):
        bench_mvm(TINY, batches=(5000,), repeats=30)
    with pytest.raises(RequestError, match="no batch of 128"):
        bench_mvm(TINY, batches=(1,), repeats=30).worst_ratio(128)


def test_threads_are_put_back_also_after_an_error():
    before = torch.get_num_threads()
    seen = []

    def fail():
        seen.append(torch.get_num_threads())
        raise RuntimeError

    with pytest.raises(RuntimeError), torch_threads(before + 1):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_the_machine_is_named():
    here = Machine.here()
    assert here.cpus >= 1
    assert here.torch == torch.__version__
    assert here.processor


def test_more_iterations_do_not_make_the_error_larger():
    found = bench_program(CORE)
    limits = [run.max_iterations for run in found.runs]
    assert limits == [limits[1] // 2, limits[1], 2 * limits[1]]
    assert not found.grows
    errors = [run.mvm_error_affine for run in found.runs]
    assert errors[2] <= 1.02 * min(errors)
    for run in found.runs:
        assert run.iterations <= run.max_iterations
        assert run.cpu_s > 0
        assert run.errors
    assert found.at_default() is found.runs[1]


def test_a_method_without_iterations_has_nothing_to_show():
    with pytest.raises(RequestError, match="does not iterate"):
        bench_program(CORE, method="open_loop")


def test_twins_give_equal_codes():
    found = bench_loopback("sim:hermes?rows=24&cols=12&seed=5")
    assert found.bit_equal
    assert found.first_difference is None
    assert found.verbs > 100
    assert found.ratio == pytest.approx(found.encoded_s / found.direct_s)


def test_the_first_difference_of_two_traces_is_found_wherever_it_is():
    trace = ["mvm a b", "read c d"]
    assert first_difference(trace, list(trace)) is None
    assert first_difference(trace, ["mvm a x", "read c d"]) == "verb 0: mvm, mvm"
    assert first_difference(trace, trace[:1]) == "verb 1: read, nothing"
    assert first_difference([], trace) == "verb 0: nothing, mvm"


def test_a_goal_decides_the_exit_code_and_stands_in_the_line(hil):
    common = ("bench", "mvm", "--core", TINY, "--batch", 128, "--repeats", 30)
    code, line = hil(*common, "--goal", 1e6)
    assert (code, line["goal_met"]) == (0, True)
    code, line = hil(*common, "--goal", 1e-6)
    assert (code, line["goal_met"]) == (1, False)
    assert line["machine"]["torch"] == torch.__version__


def test_programming_and_twins_are_timed_from_the_command_line(hil):
    code, line = hil("bench", "program", "--core", CORE, "--goal", 1000)
    assert (code, line["grows"], len(line["runs"])) == (0, False, 3)
    code, line = hil("bench", "loopback", "--core", "sim:hermes?rows=16&cols=8")
    assert (code, line["bit_equal"]) == (0, True)


def test_nets_are_timed_from_the_command_line(hil):
    sizes = ("--size", 6, "--size", 7, "--ngspice-size", 0)
    code, line = hil("bench", "nets", *sizes, "--batch", 20, "--repeats", 1)
    assert (code, line["goal_met"]) == (0, True)
    assert [timing["rows"] for timing in line["sizes"]] == [6, 7]
