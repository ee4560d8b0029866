"""What an archive of a deployment says, as documents. Data only; arrays stand beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from hil.inference.settings import Compensation
from hil.info import BackendKind
from hil.mapping import Placement, Scaling
from hil.programming import ProgrammingOutcome

__all__ = [
    "ArchivedBlock",
    "ArchivedChip",
    "ArchivedCore",
    "ArchivedCorrection",
    "ArchivedDeployment",
    "ArchivedLayer",
    "ArchivedMatrix",
    "ArchivedPlan",
    "ArchivedResult",
]

Index = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = tuple[Index, ...]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchivedCore(_Document):
    """A core as it stood: size, programming generation, digests of its trims by register."""

    rows: Annotated[int, Field(ge=1)]
    cols: Annotated[int, Field(ge=1)]
    generation: int
    trims: dict[Literal["gain_trim", "offset_trim"], str]


class ArchivedChip(_Document):
    """The chip whose cells hold the network."""

    serial: str
    backend: BackendKind
    model: str
    cores: tuple[ArchivedCore, ...] = Field(min_length=1)


class ArchivedPlan(_Document):
    """A planned network.

    Attributes:
        calls: Nodes of its graph in order, "operation target": the module that is given back must
            have the same.
        passed: Modules that pass their input on.
        input_shape, dtype: Of one input.
        scaling, weight_levels, input_levels, range_quantile, fill_rows, sample_vectors, digital:
            As in `PlanSettings`.
    """

    calls: tuple[str, ...]
    passed: tuple[str, ...]
    input_shape: tuple[Index, ...]
    dtype: Literal["float16", "bfloat16", "float32", "float64"]
    scaling: Scaling
    weight_levels: int | None
    input_levels: int
    range_quantile: float
    fill_rows: Index = 0
    sample_vectors: int
    digital: tuple[str, ...]


class ArchivedResult(_Document):
    """What programming did to a block; see `ProgrammingResult`."""

    method: str
    outcome: ProgrammingOutcome
    reads: Index
    mvms: Index
    iterations: Index
    chip_s: Seconds
    wall_s: Seconds
    last_pulse_at_s: float
    errors: tuple[float, ...]
    has_affine: bool


class ArchivedCorrection(_Document):
    """A correction: places in the list of records, by output range; drift factor."""

    affine: dict[Index, Index]
    drift: Index | None


class ArchivedBlock(_Document):
    """A block of a matrix, in the order of the placement."""

    seed: Seed
    output_range: Index
    result: ArchivedResult
    calibrated: ArchivedCorrection
    correction: ArchivedCorrection
    baseline: Index | None


class ArchivedMatrix(_Document):
    """A layer's matrix as it stands; `converters` are places in the list of records."""

    seed: Seed
    compensation: str
    converters: tuple[Index, ...]
    blocks: tuple[ArchivedBlock, ...] = Field(min_length=1)


class ArchivedLayer(_Document):
    """An analog layer; weights, bias, samples and statistics stand in the tensors.

    Attributes:
        name: Name in the network.
        rows, cols: Size of its matrix.
        samples: Representative input vectors.
        input_range, input_levels: |input| of the highest input code; that code.
        weight_levels: Levels per polarity that weights were rounded to; None: not rounded.
        has_norm: Whether a batch-norm's statistics can be restored.
        has_correction: Whether a batch-norm correction is in force.
        matrix: How it stands in the array.
    """

    name: str
    rows: Annotated[int, Field(ge=1)]
    cols: Annotated[int, Field(ge=1)]
    samples: Index
    input_range: Positive
    input_levels: Annotated[int, Field(ge=1, le=32767)]
    weight_levels: Annotated[int, Field(ge=1)] | None
    has_norm: bool
    has_correction: bool
    matrix: ArchivedMatrix


class ArchivedDeployment(_Document):
    """A deployment that stands on a chip.

    Attributes:
        address: Opens the chip as it stood; "{folder}" stands for the folder of the archive.
        chip: The chip.
        plan, layers, placement: The network and where it lies.
        method, seed, calibrate, settle_s: As in `DeploymentSettings`.
        compensation: Drift compensation in force.
        age_s: Device time since the last pulse when it was kept, s.
        programming_chip_s, programming_wall_s: What programming took, s.
        converters: Places of the records of converter trims.
        records: Calibration records without their arrays.
    """

    schema_version: Literal[1] = 1
    address: str
    chip: ArchivedChip
    plan: ArchivedPlan
    layers: tuple[ArchivedLayer, ...] = Field(min_length=1)
    placement: Placement
    method: str
    seed: Index
    calibrate: bool
    settle_s: Seconds | None
    compensation: Compensation
    age_s: Seconds
    programming_chip_s: Seconds
    programming_wall_s: Seconds
    converters: tuple[Index, ...]
    records: tuple[dict[str, JsonValue], ...]
