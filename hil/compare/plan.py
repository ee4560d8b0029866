"""What a comparison is to do, checked before anything is written or pulsed."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hil.address import address_with
from hil.backends import open_chip
from hil.compare.matrices import MatrixKind
from hil.errors import RequestError
from hil.info import BackendKind, CoreInfo
from hil.owned_chip import open_noted
from hil.programming.gradient_descent import GradientDescent
from hil.programming.verify import COUNTS_AT_G_MAX

__all__ = [
    "Case",
    "ComparisonPlan",
    "Setting",
    "cases_of",
    "plan_comparison",
    "published_margin",
    "trials_of",
]

SAME_MARGIN_COUNTS = 1e-3
"""Margins no further apart than this are one."""

Age = Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Margin = Annotated[float, Field(ge=0.0, le=COUNTS_AT_G_MAX, allow_inf_nan=False)]


class Setting(StrEnum):
    """A method with its hyper-parameters; program-and-verify at the published margin always runs.

    The last three are controls: what would the other method gain from what this one has?
    """

    PUBLISHED = "published_margin"
    """Program-and-verify as published."""
    BEST = "best_margin"
    """At the margin with the least error of those tried on this very chip and matrix."""
    GDP = "default"
    """Gradient descent at its defaults."""
    EQUAL_PULSES = "equal_pulses"
    """Gradient descent with the pulses that verify took at the published margin."""
    DELAYED = "delayed_feedback"
    """Program-and-verify at its best margin, read as late after a pulse as gradient descent is."""
    NO_RETENTION = "no_retention"
    """Gradient descent that does not aim between now and later."""


class ComparisonPlan(BaseModel):
    """What to compare, on which chips.

    Attributes:
        address: Chip; a simulated one is made anew per seed and number of ADC bits.
        matrices: Weight distributions.
        seeds: One simulated chip each; on other back-ends, one repetition on the same chip each.
        settings: What to run.
        ages_s: Ages since the last pulse, s, rising.
        adc_bits: Converter resolutions of the sweep; empty for none.
        margins: Acceptance margins tried beside the published one, counts.
        rows, cols: Size of the block; None is the whole core.
        host_seed: Seed of matrices, inputs and programming.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    address: str
    matrices: tuple[MatrixKind, ...] = Field(tuple(MatrixKind), min_length=1)
    seeds: tuple[Seed, ...] = Field((1, 2, 3, 4, 5), min_length=1)
    settings: tuple[Setting, ...] = tuple(Setting)
    ages_s: tuple[Age, ...] = Field((200.0, 86_400.0), min_length=1)
    adc_bits: tuple[Annotated[int, Field(ge=2, le=16)], ...] = (4, 5, 6, 7, 8, 9, 10)
    margins: tuple[Margin, ...] = (0.5, 1.0, 2.0, 3.0, 5.0)
    rows: Annotated[int, Field(ge=2)] | None = None
    cols: Annotated[int, Field(ge=2)] | None = None
    host_seed: Seed = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(b <= a for a, b in pairwise(self.ages_s)):
            raise ValueError("ages must rise")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice")
        return self


class Case(BaseModel):
    """One matrix on one chip: what a process works on at a time.

    Attributes:
        settings: Those of this case.
        margins: Margins tried here.
        sweeps_bits: It belongs to the ADC sweep alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    matrix: MatrixKind
    seed: int
    settings: tuple[Setting, ...]
    margins: tuple[float, ...]
    ages_s: tuple[float, ...]
    rows: int
    cols: int
    host_seed: int
    sweeps_bits: bool


def plan_comparison(**values: Any) -> ComparisonPlan:  # noqa: ANN401 - checked by the plan
    """Make a plan.

    Raises:
        RequestError: A value is out of range.
    """
    try:
        return ComparisonPlan.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        words = str(first["msg"]).removeprefix("Value error, ")
        raise RequestError(f"{key or 'plan'}: {words} (given: {first['input']!r})") from error


def cases_of(plan: ComparisonPlan) -> tuple[Case, ...]:
    """Open the chip once, check the plan against it, and list the cases.

    Raises:
        RequestError: The block does not fit, an age comes before the last feedback, or ADC bits
            are to be swept where they cannot be set.
    """
    with open_noted(plan.address) as chip:
        info, simulated = chip.cores[0].info, chip.backend is BackendKind.SIM
    rows, cols = plan.rows or info.rows, plan.cols or info.cols
    if rows > info.rows or cols > info.cols:
        raise RequestError(
            f"a block of {rows} x {cols} is larger than core 0 ({info.rows} x {info.cols}); "
            "give fewer --rows or --cols"
        )
    feedback_s = GradientDescent().settle_s
    if plan.ages_s[0] <= 2 * feedback_s:
        raise RequestError(
            f"age {plan.ages_s[0]:g} s is too young: feedback comes up to {feedback_s:g} s after "
            f"a pulse; give ages above {2 * feedback_s:g} s"
        )
    if plan.adc_bits and not simulated:
        raise RequestError(
            f"{plan.address} has the ADC it has (adc_bits sweeps a simulated one); give no bits"
        )
    known = published_margin(info)  # a trial at this margin runs anyhow
    margins = tuple(m for m in dict.fromkeys(plan.margins) if abs(m - known) > SAME_MARGIN_COUNTS)
    settings = tuple(s for s in Setting if s in plan.settings or s is Setting.PUBLISHED)

    def case(matrix: MatrixKind, seed: int, bits: int | None) -> Case:
        sweeps = bits is not None
        return Case(
            address=address_with(plan.address, seed=seed, adc_bits=bits)
            if simulated
            else plan.address,
            matrix=matrix,
            seed=seed,
            settings=(Setting.PUBLISHED, Setting.GDP) if sweeps else settings,
            margins=() if sweeps else margins,
            ages_s=plan.ages_s,
            rows=rows,
            cols=cols,
            host_seed=plan.host_seed,
            sweeps_bits=sweeps,
        )

    main = [case(matrix, seed, None) for seed in plan.seeds for matrix in plan.matrices]
    covered = MatrixKind.GAUSSIAN in plan.matrices and Setting.GDP in settings
    sweep: list[Case] = []
    for bits in dict.fromkeys(plan.adc_bits):
        # opened here, so that bits the back-end refuses are refused before anything is written
        with open_chip(address_with(plan.address, seed=plan.seeds[0], adc_bits=bits)) as chip:
            same = chip.cores[0].info.output_codes.bits == info.output_codes.bits
        if not (same and covered):
            sweep += [case(MatrixKind.GAUSSIAN, seed, bits) for seed in plan.seeds]
    return (*main, *sweep)


def trials_of(case: Case) -> int:
    """Count the programming runs of a case."""
    return len(case.settings) + (len(case.margins) - 1 if Setting.BEST in case.settings else 0)


def published_margin(info: CoreInfo) -> float:
    """Return the acceptance margin of the chip's published program-and-verify, counts."""
    device = info.device
    return device.verify_margin_siemens / device.device_g_max_siemens * COUNTS_AT_G_MAX
