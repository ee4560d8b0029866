"""The standard crossbar of hardware-aware training: one MVM as a pure, differentiable function.

Rasch et al., Nat. Commun. 14, 5282 (2023), supplement (arXiv 2302.08469), and the preset "standard
HWA training" of IBM aihwkit, for inputs and weights in [-1, 1]. In this order: input converter,
product, IR drop, short-term weight noise, S-shape, output noise, output converter, digital scale
and bias. Each effect is a value, and None is a crossbar without it. Static crossbar effects are
left out, as taken up by write-verify (Rasch); so are aihwkit's series resistance and voltage
offset, which its preset leaves off. Long-term noise and drift belong to the weights handed in.
Quantisers pass gradients straight through inside their bounds. Knows no chip and no verb.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hil.errors import RequestError

__all__ = [
    "PERFECT",
    "STANDARD",
    "DigitalScale",
    "IrDropPolynomial",
    "Quantiser",
    "SShape",
    "StandardCrossbar",
    "crossbar_mvm",
    "quantise",
    "tiled_mvm",
]

LEAST_BOUND = 1e-12
"""Smallest bound of an input converter: a learned one may not reach zero."""


@dataclass(frozen=True, kw_only=True)
class Quantiser:
    """Uniform and symmetric: `steps` steps over [-bound, bound], clipped beyond.

    Attributes:
        steps: Steps between the lowest and the highest level; an even number has a level at zero.
        bound: Largest magnitude.
    """

    steps: int
    bound: float

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.bound > 0:
            raise RequestError(
                f"a quantiser of {self.steps} steps over ±{self.bound} has no levels; "
                "give 1 step or more and a bound above 0"
            )

    @classmethod
    def of_bits(cls, bits: int, bound: float) -> Quantiser:
        """Return the converter of so many bits, sign included: 2^bits - 2 steps."""
        if not 2 <= bits <= 24:
            raise RequestError(f"{bits} bits are outside 2...24")
        return cls(steps=(1 << bits) - 2, bound=bound)


@dataclass(frozen=True, kw_only=True)
class IrDropPolynomial:
    """Drop along the bit line by the time-averaged current, a polynomial of the load.

    With a_i = n sum_j |w_ij| |x_j| / ratio, ratio = 1 / (ohm_per_cell g_max):
    c_i = 0.05 a^3 - 0.2 a^2 + 0.5 a, and y_i loses scale c_i sum_j w_ij x_j (1 - (1 - j/n)^2), the
    first row farthest from the output. An approximation by its authors, several times more lenient
    than the circuit at equal resistance and conductance.

    Attributes:
        ohm_per_cell: Wire resistance per cell, ohm.
        g_max_siemens: Conductance of weight 1, S.
        scale: Factor on the drop.
    """

    ohm_per_cell: float
    g_max_siemens: float
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SShape:
    """Saturating output amplifiers, y / (1 + |n_i y|), n_i = strength (1 + spread N) / bound.

    Attributes:
        strength: Mean non-linearity over the output bound.
        spread: Relative spread from col to col.
        bound: Output bound.
    """

    strength: float
    spread: float
    bound: float

    def of_cols(self, cols: int, generator: torch.Generator) -> Float[Tensor, " cols"]:
        """Draw n_i of each col, once per crossbar."""
        z = torch.randn(cols, generator=generator, device=generator.device)
        return self.strength / self.bound * (1 + self.spread * z)


@dataclass(frozen=True, kw_only=True)
class StandardCrossbar:
    """What a crossbar does to a product; None leaves an effect out.

    Attributes:
        dac, adc: Converters, of inputs over their range and of outputs.
        ir_drop: Drop along the bit lines.
        short_term_noise: Weight noise of every MVM, referred to the output:
            noise * sqrt(sum |w| x^2).
        output_noise: Noise before the output converter, per output.
        largest_rows: Rows of one crossbar; longer ones are split and summed digitally.
    """

    dac: Quantiser | None
    adc: Quantiser | None
    ir_drop: IrDropPolynomial | None
    short_term_noise: float | None
    output_noise: float | None
    largest_rows: int = 512


PERFECT = StandardCrossbar(
    dac=None, adc=None, ir_drop=None, short_term_noise=None, output_noise=None
)

STANDARD = StandardCrossbar(
    dac=Quantiser.of_bits(8, 1.0),  # [pub Rasch] 254 steps over [-1, 1] of the input range
    adc=Quantiser.of_bits(8, 10.0),  # [pub Rasch] 10 full-on inputs x full-on weights saturate
    ir_drop=IrDropPolynomial(ohm_per_cell=0.35, g_max_siemens=5e-6),  # [pub Rasch] 1 / 571,428.57
    short_term_noise=0.0175,  # [pub Rasch] PCM-read type
    output_noise=0.04,  # [pub Rasch] about half a step of the ADC
)


@dataclass(frozen=True, kw_only=True, eq=False)
class DigitalScale:
    """What surrounds the analog part, in digital floating point: all may be learned.

    Attributes:
        input_range: Inputs of this size drive fully, () or (rows,)-broadcastable.
        col_scale: Factor per col, () or (cols,).
        bias: Added per col, () or (cols,).
    """

    input_range: Tensor
    col_scale: Tensor
    bias: Tensor

    @classmethod
    def plain(cls, like: Tensor) -> DigitalScale:
        """Range and scale 1, bias 0, on the device and in the type of a tensor."""
        one = like.new_ones(())
        return cls(input_range=one, col_scale=one, bias=like.new_zeros(()))


def quantise(x: Float[Tensor, "*s"], quantiser: Quantiser | None) -> Float[Tensor, "*s"]:
    """Round to the nearest level and clip; the gradient is 1 inside the bounds and 0 beyond."""
    if quantiser is None:
        return x
    step = 2 * quantiser.bound / quantiser.steps
    clipped = x.clamp(-quantiser.bound, quantiser.bound)
    return clipped + (_rounded(clipped, step, quantiser.steps) - clipped).detach()


def crossbar_mvm(
    x: Float[Tensor, "batch rows"],
    w: Float[Tensor, "rows cols"],
    crossbar: StandardCrossbar,
    generator: torch.Generator,
    *,
    digital: DigitalScale | None = None,
    s_shape: Float[Tensor, " cols"] | None = None,
) -> Float[Tensor, "batch cols"]:
    """Multiply on one crossbar.

    A pair of deviates per output is drawn whenever there is any noise, so that leaving one noise
    out does not change the other.

    Args:
        x: Inputs, in units of `digital.input_range`.
        w: Weights as programmed and drifted, over g_max.
        crossbar: Its effects.
        generator: What noise is drawn from, on the device of `x`.
        digital: Ranges, scales and bias; None is 1, 1 and 0.
        s_shape: Non-linearity per col (`SShape.of_cols`); None is a linear one.

    Raises:
        RequestError: The weights have more rows than one crossbar.
    """
    rows = w.shape[0]
    if rows > crossbar.largest_rows:
        raise RequestError(
            f"{rows} rows are more than {crossbar.largest_rows} of one crossbar; use tiled_mvm"
        )
    around = digital or DigitalScale.plain(x)
    alpha = around.input_range.clamp(min=LEAST_BOUND)
    driven = quantise(x / alpha, crossbar.dac)
    y = driven @ w
    if crossbar.ir_drop is not None:
        y = y - _dropped(driven, w, crossbar.ir_drop)
    z_short, z_out = _deviates(y, crossbar, generator)
    if crossbar.short_term_noise is not None:
        # A small floor keeps the slope of the root finite where nothing is driven.
        power = (driven**2 @ w.abs()).clamp(min=LEAST_BOUND)
        y = y + crossbar.short_term_noise * power.sqrt() * z_short
    if s_shape is not None:
        y = y / (1 + (s_shape * y).abs())
    if crossbar.output_noise is not None:
        y = y + crossbar.output_noise * z_out
    return alpha * around.col_scale * quantise(y, crossbar.adc) + around.bias


def tiled_mvm(
    x: Float[Tensor, "batch rows"],
    w: Float[Tensor, "rows cols"],
    crossbar: StandardCrossbar,
    generator: torch.Generator,
    *,
    digital: DigitalScale | None = None,
) -> Float[Tensor, "batch cols"]:
    """Multiply on as many crossbars as the rows need, as equal as can be; sum them digitally."""
    around = digital or DigitalScale.plain(x)
    tiles = -(-w.shape[0] // crossbar.largest_rows)
    bare = replace(around, bias=torch.zeros_like(around.bias))
    parts = [
        crossbar_mvm(x_part, w_part, crossbar, generator, digital=bare)
        for x_part, w_part in zip(
            x.tensor_split(tiles, dim=1), w.tensor_split(tiles, dim=0), strict=True
        )
    ]
    return torch.stack(parts).sum(0) + around.bias


def _rounded(x: Tensor, step: float, steps: int) -> Tensor:
    """Nearest level; an odd number of steps has levels at half steps, none at zero."""
    shift = 0.0 if steps % 2 == 0 else 0.5
    return (torch.round(x / step - shift) + shift) * step


def _dropped(
    driven: Float[Tensor, "batch rows"], w: Float[Tensor, "rows cols"], drop: IrDropPolynomial
) -> Float[Tensor, "batch cols"]:
    n = w.shape[0]
    load = n * drop.ohm_per_cell * drop.g_max_siemens
    a = load * (driven.abs() @ w.abs())
    c = ((0.05 * a - 0.2) * a + 0.5) * a
    j = torch.arange(n, dtype=w.dtype, device=w.device) / n
    reach = 1 - (1 - j) ** 2
    return drop.scale * c * (driven @ (reach[:, None] * w))


def _deviates(y: Tensor, crossbar: StandardCrossbar, generator: torch.Generator) -> Tensor:
    if crossbar.short_term_noise is None and crossbar.output_noise is None:
        return y.new_zeros((2, 1, 1))
    return torch.randn((2, *y.shape), generator=generator, device=y.device, dtype=y.dtype)
