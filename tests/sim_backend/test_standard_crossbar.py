"""The standard crossbar: each effect by its law, off as a value, gradients through quantisers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hil.errors import RequestError
from sim_backend.standard_crossbar import (
    PERFECT,
    STANDARD,
    DigitalScale,
    IrDropPolynomial,
    Quantiser,
    SShape,
    StandardCrossbar,
    crossbar_mvm,
    quantise,
    tiled_mvm,
)


def _task(rows: int = 64, cols: int = 24, batch: int = 40, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(batch, rows, generator=generator, dtype=torch.float64) - 1
    w = (0.246 * torch.randn(rows, cols, generator=generator, dtype=torch.float64)).clamp(-1, 1)
    return x, w


def _run(x: Tensor, w: Tensor, crossbar: StandardCrossbar, seed: int = 5) -> Tensor:
    return crossbar_mvm(x, w, crossbar, torch.Generator().manual_seed(seed))


def test_a_crossbar_without_effects_multiplies() -> None:
    x, w = _task()
    assert torch.equal(_run(x, w, PERFECT), x @ w)


def test_standard_converters_have_254_steps() -> None:
    assert STANDARD.dac == Quantiser(steps=254, bound=1.0)
    assert STANDARD.adc == Quantiser(steps=254, bound=10.0)
    drop = STANDARD.ir_drop
    assert drop is not None
    assert 1 / (drop.ohm_per_cell * drop.g_max_siemens) == pytest.approx(571_428.57, rel=1e-8)


@pytest.mark.parametrize("steps", [254, 6, 7])
def test_quantising_moves_by_at_most_half_a_step_and_clips(steps: int) -> None:
    converter = Quantiser(steps=steps, bound=2.0)
    x = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    seen = quantise(x, converter)
    step = 4.0 / steps
    inside = x.abs() <= 2
    assert float((seen - x)[inside].abs().max()) <= step / 2 + 1e-12
    assert seen.unique().numel() == steps + 1
    assert float(seen.max()) == pytest.approx(2.0)
    assert torch.allclose(quantise(seen, converter), seen)


def test_gradients_pass_quantisers_inside_their_bounds_only() -> None:
    x = torch.tensor([-2.0, -0.7, 0.0, 0.3, 1.5], requires_grad=True)
    quantise(x, Quantiser.of_bits(3, 1.0)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_everything_that_may_be_learned_gets_the_gradient_of_the_smooth_model() -> None:
    """Where nothing clips, straight-through gradients become those without converters."""
    x, w = _task()
    params = [
        p.clone().requires_grad_()
        for p in (
            x,
            w,
            torch.tensor(1.2).double(),
            torch.ones(24).double(),
            torch.zeros(24).double(),
        )
    ]
    finer = replace(STANDARD, dac=Quantiser.of_bits(20, 1.0), adc=Quantiser.of_bits(20, 20.0))
    grads = []
    for crossbar in (finer, replace(finer, dac=None, adc=None)):
        scale = DigitalScale(input_range=params[2], col_scale=params[3], bias=params[4])
        y = crossbar_mvm(
            params[0], params[1], crossbar, torch.Generator().manual_seed(3), digital=scale
        )
        grads.append(torch.autograd.grad((y**2).sum(), params))
    for rough, smooth in zip(*grads, strict=True):
        assert bool(torch.isfinite(rough).all())
        apart = torch.linalg.norm(rough - smooth) / torch.linalg.norm(smooth)
        assert float(apart) < 1e-3
    # And it is what small steps find, where nothing is rounded.
    free = replace(PERFECT, ir_drop=STANDARD.ir_drop)
    assert torch.autograd.gradcheck(
        lambda a, b: _run(a, b, free), (params[0][:3], params[1][:, :4]), atol=1e-6
    )


def test_the_ir_drop_is_the_written_polynomial() -> None:
    x, w = _task(rows=30, cols=3, batch=2)
    drop = IrDropPolynomial(ohm_per_cell=0.35, g_max_siemens=25e-6, scale=0.7)
    seen = _run(x, w, replace(PERFECT, ir_drop=drop))
    ratio, n = 1 / (0.35 * 25e-6), 30
    for b in range(2):
        for i in range(3):
            a = n * sum(abs(float(w[j, i]) * float(x[b, j])) for j in range(n)) / ratio
            c = 0.05 * a**3 - 0.2 * a**2 + 0.5 * a
            lost = sum(float(w[j, i]) * float(x[b, j]) * (1 - (1 - j / n) ** 2) for j in range(n))
            wanted = float(x[b] @ w[:, i]) - 0.7 * c * lost
            assert float(seen[b, i]) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.statistical
def test_noise_has_the_stated_variance() -> None:
    x, w = _task(rows=50, cols=8, batch=1)
    repeated = x.expand(40_000, -1)
    power = (x**2 @ w.abs())[0]
    for crossbar, variance in (
        (replace(PERFECT, output_noise=0.04), torch.full((8,), 0.04**2).double()),
        (replace(PERFECT, short_term_noise=0.0175), 0.0175**2 * power),
        (
            replace(PERFECT, short_term_noise=0.0175, output_noise=0.04),
            0.0175**2 * power + 0.04**2,
        ),
    ):
        seen = _run(repeated, w, crossbar) - x @ w
        ratio = seen.var(0) / variance
        assert float((ratio - 1).abs().max()) < 4.5 * math.sqrt(2 / 40_000)


def test_leaving_one_noise_out_leaves_the_draws_of_the_other() -> None:
    x, w = _task()
    both = replace(PERFECT, short_term_noise=0.0175, output_noise=0.04)
    parts = [replace(both, output_noise=None), replace(both, short_term_noise=None)]
    exact = x @ w
    together = sum(_run(x, w, part) - exact for part in parts)
    assert torch.allclose(_run(x, w, both) - exact, together)


def test_one_seed_is_one_answer_and_another_is_another() -> None:
    x, w = _task()
    assert torch.equal(_run(x, w, STANDARD, 3), _run(x, w, STANDARD, 3))
    assert not torch.equal(_run(x, w, STANDARD, 3), _run(x, w, STANDARD, 4))


def test_digital_scales_surround_the_analog_part() -> None:
    x, w = _task()
    digital = DigitalScale(
        input_range=torch.tensor(0.5).double(),
        col_scale=torch.linspace(0.5, 2, 24).double(),
        bias=torch.arange(24).double(),
    )
    y = crossbar_mvm(0.4 * x, w, PERFECT, torch.Generator().manual_seed(1), digital=digital)
    assert torch.allclose(y, (0.4 * x @ w) * digital.col_scale + digital.bias)
    clipped = crossbar_mvm(
        3 * x,
        w,
        replace(PERFECT, dac=Quantiser.of_bits(8, 1.0)),
        torch.Generator(),
        digital=digital,
    )
    assert bool((clipped.abs() < (3 * x @ w).abs().max() * 2 + 24).all())


def test_an_s_shape_compresses_and_keeps_the_sign() -> None:
    shape = SShape(strength=0.3, spread=0.1, bound=10.0).of_cols(
        24, torch.Generator().manual_seed(2)
    )
    x, w = _task()
    exact = x @ w
    seen = crossbar_mvm(x, w, PERFECT, torch.Generator(), s_shape=shape.double())
    assert bool((seen.abs() <= exact.abs() * (1 + 1e-12)).all())
    assert torch.equal(seen.sign(), exact.sign())
    assert float(shape.mean()) == pytest.approx(0.03, rel=0.1)


def test_many_rows_are_split_and_summed_digitally() -> None:
    x, w = _task(rows=1100, cols=5)
    with pytest.raises(RequestError, match="1100 rows are more than 512"):
        _run(x, w, STANDARD)
    assert torch.allclose(tiled_mvm(x, w, PERFECT, torch.Generator()), x @ w)
    generator = torch.Generator().manual_seed(9)
    parts = zip(x.tensor_split(3, dim=1), w.tensor_split(3, dim=0), strict=True)
    summed = sum(crossbar_mvm(a, b, STANDARD, generator) for a, b in parts)
    assert torch.allclose(tiled_mvm(x, w, STANDARD, torch.Generator().manual_seed(9)), summed)


@pytest.mark.parametrize(("steps", "bound"), [(0, 1.0), (6, 0.0), (6, float("nan"))])
def test_a_quantiser_without_levels_is_refused(steps: int, bound: float) -> None:
    with pytest.raises(RequestError, match="has no levels"):
        Quantiser(steps=steps, bound=bound)
