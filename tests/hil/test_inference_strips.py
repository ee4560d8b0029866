"""A layer call: how its batch is cut changes nothing; vectors are those of the convolution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from hil import open_chip, program_matrix
from hil.inference import AnalogLayer, NetworkPlan, layer_call, plan_network, run_layer_serial
from hil.inference.digital import ACCUMULATOR_STEPS, accumulate, scale_outputs
from hil.inference.geometry import geometry_of, weight_matrix
from hil.inference.layer_serial import Multiplier, Products, Stage


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=index) * 0.3)
    return module.eval()


class Mixed(nn.Module):
    """A strided, a circular and a dense layer, one of them called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 6, (3, 2), stride=(2, 1), padding=(1, 0))
        self.norm = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular")
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.a(x)))
        x = functional.relu(self.b(self.b(x)))
        return self.head(x.flatten(2).transpose(1, 2)).mean(dim=1)


@pytest.fixture(scope="module")
def plan() -> NetworkPlan:
    with torch.random.fork_rng():
        module = Mixed()
    return plan_network(filled(module), noise(60, 2, 9, 7))


class Exact(Multiplier):
    """Exact products, given in one stage or in several that each hold some of the rows."""

    def __init__(self, max_batch: int, stages: int = 1) -> None:
        self.max_batch = max_batch
        self.longest = 0
        self._stages = stages
        self._now = 0.0

    @override
    def stages(self, layer: AnalogLayer) -> Iterator[Stage]:
        for rows in np.array_split(np.arange(layer.rows), self._stages):

            def multiply(codes: np.ndarray, rows: np.ndarray = rows) -> Products:
                self.longest = max(self.longest, codes.shape[0])
                self._now += codes.shape[0]
                product = codes[:, rows].astype(np.float64) @ layer.weight_codes[rows]
                return Products(
                    units=product,
                    mvms=codes.shape[0],
                    saturated=int((product > 0).sum()),
                    converted=product.size,
                )

            yield multiply

    @override
    def stages_of(self, layer: AnalogLayer) -> int:
        return self._stages

    @override
    def now_s(self) -> float:
        return self._now


@pytest.mark.parametrize("norm_images", [0, 20])
@pytest.mark.parametrize(
    "cut",
    [(1, 1, 1), (50, 1, 1), (50, 200, 1), (100, 130, 3), (7, 10**6, 2), (10**6, 1, 1)],
    ids=str,
)
def test_no_cut_of_the_batch_changes_a_bit(plan, monkeypatch, cut, norm_images):
    max_batch, strip_vectors, stages = cut
    x = noise(33, 2, 9, 7, seed=5)
    whole = run_layer_serial(plan, x, Exact(10**6), norm_images=norm_images)
    monkeypatch.setattr(layer_call, "STRIP_VECTORS", strip_vectors)
    again = run_layer_serial(plan, x, Exact(max_batch, stages), norm_images=norm_images)
    assert torch.equal(again.outputs, whole.outputs)
    for one, other in zip(again.layers, whole.layers, strict=True):
        assert (one.vectors, one.mvm_error) == (other.vectors, other.mvm_error)
        assert one.mvms == stages * other.mvms
        assert one.converted == stages * other.converted
        assert one.clipped_share == pytest.approx(other.clipped_share, rel=1e-12)
        assert one.chip_s == stages * other.chip_s


def test_no_more_vectors_than_agreed_are_handed_over_at_once(plan):
    small = Exact(80)
    run_layer_serial(plan, noise(9, 2, 9, 7), small)
    assert small.longest <= 80
    # One item alone may have more; it is the multiplier that splits it.
    tiny = Exact(3)
    run_layer_serial(plan, noise(2, 2, 9, 7), tiny)
    assert tiny.longest == 5 * 6


def test_an_empty_batch_has_empty_outputs(plan):
    result = run_layer_serial(plan, noise(0, 2, 9, 7), Exact(64))
    assert result.outputs.shape == (0, 4)
    assert all(
        (run.vectors, run.mvm_error, run.clipped_share) == (0, None, 0.0) for run in result.layers
    )


CONVOLUTIONS = {
    "plain": (nn.Conv2d, (3, 4, 3), {"padding": 1}, (3, 7, 5)),
    "strided": (nn.Conv2d, (3, 4, (3, 2)), {"stride": (2, 3), "padding": (2, 0)}, (3, 8, 9)),
    "dilated": (nn.Conv2d, (2, 4, 3), {"dilation": (2, 1), "padding": "same"}, (2, 8, 6)),
    "grouped": (nn.Conv2d, (4, 6, 3), {"groups": 2, "bias": False}, (4, 6, 6)),
    "one pixel": (nn.Conv2d, (5, 4, 1), {}, (5, 3, 3)),
    "even": (nn.Conv2d, (3, 4, (4, 10)), {"padding": (2, 4)}, (3, 9, 12)),
    "whole image": (nn.Conv2d, (2, 4, (6, 5)), {}, (2, 6, 5)),
    "reflecting": (nn.Conv2d, (2, 4, 3), {"padding": 2, "padding_mode": "reflect"}, (2, 6, 5)),
    "one dimension": (
        nn.Conv1d,
        (3, 4, 5),
        {"stride": 2, "dilation": 2, "padding": 3},
        (3, 20),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_vectors_times_weights_are_the_convolution(name):
    kind, sizes, options, shape = CONVOLUTIONS[name]
    with torch.random.fork_rng():
        layer = filled(kind(*sizes, **options).double())
    x = noise(5, *shape).double()
    geometry = geometry_of(layer)
    padded = geometry.pad(x)
    vectors = geometry.vectors(padded)
    assert vectors.is_contiguous()
    assert vectors.shape == (5 * geometry.positions(padded.shape), geometry.rows)
    with torch.no_grad():
        want = layer(x)
        bias = 0.0 if layer.bias is None else layer.bias
        y = vectors @ torch.from_numpy(weight_matrix(layer)) + bias
    assert geometry.output_shape(padded.shape) == tuple(want.shape)
    torch.testing.assert_close(geometry.restore(y, padded.shape), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.bfloat16])
def test_vectors_keep_the_type_and_every_value(dtype):
    with torch.random.fork_rng():
        geometry = geometry_of(nn.Conv2d(2, 1, 2))
    x = (noise(3, 2, 4, 4) * 50).to(dtype)
    vectors = geometry.vectors(x)
    want = functional.unfold(x.float(), 2).transpose(1, 2).reshape(-1, 8)
    assert vectors.dtype is dtype
    assert torch.equal(vectors.float(), want)


def test_the_accumulator_rounds_to_its_steps_and_scaling_undoes_them():
    rng = np.random.default_rng(0)
    units, weight, bias = rng.normal(0, 1e5, (50, 3)), rng.uniform(0.1, 2, 3), rng.normal(size=3)
    steps = accumulate(units)
    np.testing.assert_array_equal(steps, np.rint(steps))
    assert np.abs(steps / ACCUMULATOR_STEPS - units).max() <= 0.5 / ACCUMULATOR_STEPS
    np.testing.assert_allclose(
        scale_outputs(steps, weight, 0.25, bias),
        steps / ACCUMULATOR_STEPS * weight * 0.25 + bias,
        rtol=1e-13,
    )


@pytest.mark.parametrize("drift", [False, True], ids=["calibrated", "drifted"])
def test_outputs_in_units_are_the_corrected_outputs(drift):
    """Twin chips draw the same noise, so only arithmetic can differ; 70 rows need two blocks."""
    rng = np.random.default_rng(1)
    weights, codes = rng.normal(size=(70, 20)), rng.integers(-127, 128, (40, 70), np.int16)
    unit, seen = 3.2e-7, []
    for in_units in (False, True):
        with open_chip("sim:hermes?rows=40&cols=64&seed=4") as chip:
            matrix = program_matrix(chip, weights, "open_loop")
            if drift:
                chip.wait(86_400)
                matrix.compensate_drift("per_column")
            assert len(matrix.blocks) == 2
            if in_units:
                made = matrix.measure_units(codes, unit)
                seen.append((made.units * unit, made.saturated, made.converted))
            else:
                plain = matrix.measure(codes)
                seen.append((plain.siemens, plain.saturated, plain.converted))
    np.testing.assert_allclose(seen[1][0], seen[0][0], rtol=1e-12, atol=1e-18)
    assert seen[1][1:] == seen[0][1:]
