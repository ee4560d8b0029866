"""The inference benchmark: both sides in turn, by layer and by part, with memory."""

import json
import sys

import numpy as np
import pytest
import torch

from hil.bench import bench_inference
from hil.bench.memory import peak_increase
from hil.bench.module_time import module_seconds
from hil.bench.shares import PARTS, REST, time_shares
from hil.cli import main
from hil.errors import RequestError

SMALL = {"network": "mlp-digits", "batch": 20, "repeats": 3}
CHIP = "sim:hermes?rows=128&cols=80&seed=3"


@pytest.fixture(scope="module")
def found():
    return bench_inference(
        "sim:hermes?cores=2&seed=7", network="resnet9-digits", batch=6, repeats=3
    )


def test_ratios_and_rates_follow_from_the_times(found):
    assert (found.network, found.trained, found.batch, found.threads) == (
        "resnet9-digits",
        True,
        6,
        1,
    )
    assert found.ratio == pytest.approx(found.run_s / found.torch_s)
    assert found.samples_per_s == pytest.approx(6 / found.run_s)
    assert found.ratio_quartiles[0] <= found.ratio_quartiles[1]
    assert found.cpu_ratio > 0
    assert found.peak_bytes_per_sample == pytest.approx(found.peak_bytes / 6)


def test_layers_are_those_of_the_network_with_their_mvms(found):
    layers = {layer.name: layer for layer in found.layers}
    assert next(iter(layers)) == "conv0"
    # 8x8 images: 64 positions before the first pooling; 504 rows are two blocks of 256.
    assert (layers["conv0"].rows, layers["conv0"].mvms_per_sample) == (9, 64)
    assert (layers["conv6"].blocks, layers["conv7"].rows) == (2, 504)
    assert layers["conv6"].mvms_per_sample % 2 == 0
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)
    assert all(layer.layer_s > 0 and layer.torch_s > 0 for layer in found.layers)
    assert sum(layer.layer_s for layer in found.layers) < 1.5 * found.run_s
    mvms = sum(layer.mvms_per_sample for layer in found.layers)
    assert found.chip_s_per_sample == pytest.approx(mvms * 130e-9, rel=1e-6)


def test_every_part_of_the_simulator_is_found_and_parts_are_the_whole(found):
    """A part whose function was renamed would silently count as nothing."""
    assert set(found.shares) == {*PARTS, REST}
    assert all(share > 0 for part, share in found.shares.items()), found.shares
    assert sum(found.shares.values()) == pytest.approx(1)


def test_work_outside_all_parts_is_the_rest():
    shares = time_shares(lambda: sum(range(1000)))
    assert shares[REST] == pytest.approx(1)
    assert all(shares[part] == 0 for part in PARTS)


def test_untrained_networks_run_with_random_weights():
    found = bench_inference(CHIP, **SMALL)
    assert (found.network, found.trained) == ("mlp-digits", False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repeats": 2}, "below 3"),
        ({"batch": 0}, "1 or more"),
        ({"threads": 0}, "1 or more"),
        ({"network": "resnet10"}, "known"),
    ],
    ids=["repeats", "batch", "threads", "network"],
)
def test_a_benchmark_that_would_say_nothing_is_refused(changes, words):
    with pytest.raises(RequestError, match=words):
        bench_inference(CHIP, **{**SMALL, **changes})


def test_peak_memory_sees_what_was_held_for_a_moment():
    def hold(megabytes):
        return float(np.ones(megabytes * 1_000_000 // 8).sum())

    _, small = peak_increase(lambda: hold(1))
    result, large = peak_increase(lambda: hold(200))
    assert result == 25_000_000
    if sys.platform == "linux":
        assert small < 50e6
        assert large == pytest.approx(200e6, rel=0.2)


def test_a_module_is_timed_in_all_its_calls_and_let_go():
    with torch.random.fork_rng():
        twice = torch.nn.Linear(4, 4)
    network = torch.nn.Sequential(twice, torch.nn.ReLU(), twice)
    seconds = module_seconds(network, ["0"], torch.zeros(2, 4), 3)
    assert seconds["0"] > 0
    assert not twice._forward_hooks
    assert not twice._forward_pre_hooks


def test_a_goal_decides_the_exit_code(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for goal, code in ((1e6, 0), (1e-6, 1)):
        words = ["hil", "bench", "inference", "--network", "mlp-digits", "--core", CHIP]
        words += ["--batch", "8", "--repeats", "3", "--goal", str(goal)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            main()
        assert (left.value.code or 0) == code
        line = json.loads(capsys.readouterr().out)
        assert (line["goal_met"], line["command"]) == (code == 0, "bench inference")
