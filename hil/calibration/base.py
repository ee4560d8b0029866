"""The calibration contract, and the only loop that calibrates a core.

A measurement says what to set (its knobs), what to apply (a stimulus) and how wrong an instance is
(a signed error that is zero where the knob is right). A search says how to get there. Any
measurement goes with any search. Neither touches a core: `run_calibration` does.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hil.calibration.record import (
    CalibrationRecord,
    Parameter,
    SettingName,
    WindowDocument,
)
from hil.calibration.search import Knob, KnobPlace, LinearSolve, Search
from hil.calibration.validity import (
    require_valid,
    settings_digest,
    settings_of,
    software_revision,
)
from hil.core import CoreSettings, Window
from hil.errors import HilError, RequestError
from hil.measure import measure_mvm

if TYPE_CHECKING:
    from hil.core import Core
    from hil.info import CoreInfo, MvmMode

__all__ = [
    "TEMPERATURE_BAND_KELVIN",
    "Judgement",
    "Measurement",
    "Seen",
    "Setup",
    "Stimulus",
    "Values",
    "run_calibration",
]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
Values = Mapping[str, Array]
"""A value per knob name and instance."""

TEMPERATURE_BAND_KELVIN = 5.0  # K, ±; our choice: conductance and converters move little within
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a measurement is told of the core: its info and the output range in force."""

    info: CoreInfo
    output_range: int

    @property
    def step_siemens(self) -> float:
        """Siemens per output code."""
        return self.info.output_step_siemens(self.output_range)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stimulus:
    """Inputs to apply: codes (batch, rows of the window). An empty batch applies nothing."""

    input_codes: IntArray
    window: Window | None = None
    mode: MvmMode | None = None

    @classmethod
    def none(cls) -> Stimulus:
        """Return the stimulus of a measurement that looks at stored samples only."""
        return cls(input_codes=np.zeros((0, 1), np.int16))


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What a stimulus gave.

    Attributes:
        setup: The core it came from.
        input_codes: Inputs applied, (batch, rows).
        siemens: Outputs, (batch, cols), S.
        saturated: (batch, cols).
    """

    setup: Setup
    input_codes: IntArray
    siemens: Array
    saturated: BoolArray

    @property
    def codes(self) -> Array:
        """Outputs in output codes, (batch, cols); whole numbers as float64."""
        return np.rint(self.siemens / self.setup.step_siemens)


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What is left after a calibration, per instance, and whether it may be trusted."""

    residual: Array
    unit: str
    success: BoolArray
    extra: Mapping[str, tuple[npt.NDArray[Any], str]] = field(default_factory=dict)
    """Further parameters to keep in the record: array and unit by name."""


class Measurement(ABC):
    """What to set and what to observe; options are fields of the (frozen) subclass.

    Attributes:
        kind: Name of the quantity.
        depends_on: Settings that the result depends on.
        prerequisites: Kinds to be calibrated before.
        of_cells: The result describes programmed cells: it ends with the next pulse.
    """

    kind: ClassVar[str]
    depends_on: ClassVar[tuple[SettingName, ...]] = ()
    prerequisites: ClassVar[tuple[str, ...]] = ()
    of_cells: ClassVar[bool] = False

    @abstractmethod
    def knobs(self, info: CoreInfo) -> tuple[Knob, ...]:
        """Return what to set, in order: an error may depend on knobs before it, not after.

        Raises:
            RequestError: The core lacks a capability, or an option does not fit it.
        """

    @abstractmethod
    def instances(self, info: CoreInfo) -> int:
        """Return how many instances are calibrated at once."""

    @abstractmethod
    def stimulus(self, setup: Setup, rng: np.random.Generator) -> Stimulus:
        """Return the inputs that the search works on."""

    def check_stimulus(self, setup: Setup, rng: np.random.Generator, first: Seen) -> Stimulus:
        """Return the inputs to judge the result on; by default fresh ones of the same kind."""
        del first
        return self.stimulus(setup, rng)

    @abstractmethod
    def error(self, knob: str, values: Values, seen: Seen, first: Seen) -> Array:
        """Return the signed error (instances,) that `knob` is to bring to zero.

        Args:
            knob: Name of the knob.
            values: Values in force; those in registers have acted on `seen` already.
            seen: What was observed with them.
            first: What was observed with every knob neutral: the same throughout a search.
        """

    @abstractmethod
    def judge(
        self, values: Values, found: Mapping[str, BoolArray], seen: Seen, first: Seen
    ) -> Judgement:
        """Judge the values on `seen`, an observation that the search has not used."""

    def wanted_range(self) -> int | None:
        """Return the output range to measure in; None keeps the core's."""
        return None

    def search(self, knob: Knob) -> Search[Any]:
        """Return the search to use for `knob` when the caller names none."""
        del knob
        return LinearSolve()

    def baselines(self) -> tuple[CalibrationRecord, ...]:
        """Return earlier records that this one builds on; they must hold for the core."""
        return ()


def run_calibration(
    core: Core,
    measurement: Measurement,
    *,
    seed: int,
    search: Search[Any] | None = None,
    temperature_band_kelvin: float = TEMPERATURE_BAND_KELVIN,
) -> CalibrationRecord:
    """Calibrate one quantity and leave what was found in force in the core's registers.

    Knobs are settled one after the other. A knob in a register costs an observation per trial, a
    digital one none. A bad instance is a False in the success mask. After an error, registers and
    range are what they were before.

    Args:
        core: The core to calibrate; its cells are not touched.
        measurement: The quantity.
        seed: Seed of its random stimuli.
        search: Used for every knob; None takes the measurement's own choice for each.
        temperature_band_kelvin: The record holds within ± this of the present temperature.

    Raises:
        RequestError: The core lacks a capability, or an option does not fit it.
        RecordError: A baseline does not hold for this core.
    """
    knobs = measurement.knobs(core.info)
    for baseline in measurement.baselines():
        require_valid(baseline, core)
    before = core.settings()
    bench = _Bench(core, measurement)
    try:
        judgement, searches = _settle(bench, knobs, search, np.random.default_rng(seed))
        record = _record(
            bench,
            knobs,
            judgement,
            search=searches,
            seed=seed,
            temperature_band_kelvin=temperature_band_kelvin,
        )
    except BaseException:
        with suppress(HilError):  # a core that cannot be reached keeps what it has
            core.configure(before)
        raise
    _log.info("%r", record)
    return record


class _Bench:
    """A core with a measurement's knobs on it. Holds the values in force."""

    def __init__(self, core: Core, measurement: Measurement) -> None:
        self.core, self.measurement = core, measurement
        self.values: dict[str, Array] = {}
        self.at_s = core.now_s()
        self.window: Window | None = None

    @property
    def setup(self) -> Setup:
        """The core as it is set now."""
        return Setup(info=self.core.info, output_range=self.core.settings().output_range or 0)

    def set(self, knob: Knob, values: Array) -> None:
        """Put values in force: into the register, or into the arithmetic."""
        self.values[knob.name] = values
        if knob.place is KnobPlace.REGISTER:
            codes = np.rint(values).astype(np.int16)
            self.core.configure(CoreSettings(**{knob.name: codes}))  # type: ignore[arg-type]

    def observe(self, stimulus: Stimulus) -> Seen:
        """Apply a stimulus; an empty one leaves the core alone."""
        setup, codes = self.setup, stimulus.input_codes
        if codes.shape[0] == 0:
            none = np.zeros((0, 0))
            return Seen(
                setup=setup, input_codes=codes, siemens=none, saturated=none.astype(np.bool_)
            )
        got = measure_mvm(self.core, codes, window=stimulus.window, mode=stimulus.mode)
        self.at_s, self.window = got.at_s, stimulus.window
        return Seen(setup=setup, input_codes=codes, siemens=got.siemens, saturated=got.saturated)

    def signed_error(self, knob: Knob, seen: Seen, first: Seen, instances: int) -> Array:
        """Return the measurement's error of a knob, checked."""
        error = self.measurement.error(knob.name, self.values, seen, first)
        if error.shape != (instances,) or not np.isfinite(error).all():
            raise RequestError(
                f"{self.measurement.kind}: the error of {knob.name} has shape {error.shape} and "
                f"must be ({instances},), finite; give finite samples and targets"
            )
        return error


def _settle(
    bench: _Bench, knobs: tuple[Knob, ...], search: Search[Any] | None, rng: np.random.Generator
) -> tuple[Judgement, dict[str, str]]:
    """Settle the knobs one after the other; return the judgement and the searches used."""
    measurement, core = bench.measurement, bench.core
    wanted = measurement.wanted_range()
    if wanted is not None:
        core.configure(CoreSettings(output_range=wanted))
    count = measurement.instances(core.info)
    for knob in knobs:
        bench.set(knob, knob.full(count, knob.neutral))
    stimulus = measurement.stimulus(bench.setup, rng)
    first = seen = bench.observe(stimulus)
    found: dict[str, BoolArray] = {}
    searches: dict[str, str] = {}
    for knob in knobs:
        how = search or measurement.search(knob)
        trial = how.start(knob, count)
        while trial.found is None:
            bench.set(knob, trial.values)
            if knob.place is KnobPlace.REGISTER:
                seen = bench.observe(stimulus)
            trial = how.advance(trial.state, bench.signed_error(knob, seen, first, count))
        bench.set(knob, trial.values)
        found[knob.name], searches[knob.name] = trial.found, how.name
        if knob.place is KnobPlace.REGISTER:
            seen = bench.observe(stimulus)
    check = bench.observe(measurement.check_stimulus(bench.setup, rng, first))
    return measurement.judge(bench.values, found, check, first), searches


def _record(
    bench: _Bench,
    knobs: tuple[Knob, ...],
    judgement: Judgement,
    *,
    search: dict[str, str],
    seed: int,
    temperature_band_kelvin: float,
) -> CalibrationRecord:
    measurement, info = bench.measurement, bench.core.info
    status = bench.core.status()
    settings = settings_of(bench.core.settings(), measurement.depends_on)
    parameters = {
        knob.name: Parameter.of(_stored(knob, bench.values[knob.name]), knob.unit) for knob in knobs
    }
    parameters |= {
        name: Parameter.of(array, unit) for name, (array, unit) in judgement.extra.items()
    }
    return CalibrationRecord(
        kind=measurement.kind,
        backend=info.backend,
        chip_serial=info.chip_serial,
        core=info.core,
        model=info.model,
        window=None if bench.window is None else WindowDocument.of(bench.window),
        settings=settings,
        settings_digest=settings_digest(info, settings),
        software=software_revision(info),
        temperature_kelvin=status.temperature_kelvin,
        temperature_band_kelvin=temperature_band_kelvin,
        generation=status.generation if measurement.of_cells else None,
        parameters=parameters,
        success=Parameter.of(judgement.success, "bool"),
        residual=Parameter.of(judgement.residual, judgement.unit),
        made_at_s=bench.at_s,
        prerequisites=measurement.prerequisites,
        search=search,
        seed=seed,
    )


def _stored(knob: Knob, values: Array) -> npt.NDArray[Any]:
    return np.rint(values).astype(np.int64) if knob.place is KnobPlace.REGISTER else values
