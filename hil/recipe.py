"""Lab recipes: TOML text to a checked document. Knows what an experiment may ask; runs nothing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from hil.info import BackendKind
from hil.toml_document import Shelf, bundled_documents, load_document, parse_document

__all__ = [
    "ChipSection",
    "Compensation",
    "DataSection",
    "GoalSection",
    "MappingSection",
    "Method",
    "NetworkSection",
    "PlanKind",
    "ProgrammingSection",
    "Recipe",
    "TimeSection",
    "bundled_recipes",
    "load_recipe",
    "parse_recipe",
]

Method = Literal["gdp", "verify", "open_loop"]
Compensation = Literal["none", "global", "per_column", "affine", "batch_norm"]
PlanKind = Literal["resident", "reprogram"]
Age = Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

_SHELF = Shelf(kind="recipe", package="protocols", folder="lab")


class Section(BaseModel):
    """A table of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class ChipSection(Section):
    """Which chip.

    Attributes:
        address: Default address; `--core` overrides it.
        serial: Serial that the chip must say of itself; another is refused untouched.
        require: What must answer, for example "silicon"; anything else is refused untouched.
        seeds: Repeat the recipe once per seed, each on the chip of that seed (simulated chips);
            empty runs it once on the address as it stands.
    """

    address: str = "sim:hermes?cores=2&seed=7"
    serial: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    require: BackendKind | None = None
    seeds: tuple[Seed, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds lists a chip twice")
        if self.serial is not None and self.seeds:
            raise ValueError("serial names one chip, seeds several; give one of the two")
        return self


class NetworkSection(Section):
    """Which network, trained or not.

    Attributes:
        checkpoint: A bundled checkpoint by name, or the path of a safetensors file.
        untrained: Name in the network registry, with random weights instead of a checkpoint: to
            see how a network lies on a chip and that it runs. Its accuracy means nothing.
    """

    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    untrained: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.checkpoint is None) == (self.untrained is None):
            raise ValueError("give either checkpoint or untrained")
        return self


class DataSection(Section):
    """Which data.

    Attributes:
        dataset: Name in the dataset registry; `--data` gives the folder of those that need one.
        samples: Test images, from the first; None is the whole test split.
        batch: Test images in the memory of the host at a time, under plan "resident".
        calibration_samples: Training images used for input ranges and batch-norm statistics.
    """

    dataset: str = Field(min_length=1)
    samples: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    batch: int = Field(default=500, ge=1, le=1_000_000)
    calibration_samples: int = Field(default=256, ge=2, le=100_000)


class MappingSection(Section):
    """How the network lies on the cores.

    Attributes:
        plan: All layers at once (resident) or written in turn (reprogram).
        scaling: One weight scale per matrix, or one per column.
        fill_rows: Rows up to which a layer of few rows is written several times over, each input
            driving all copies at once; 0 writes every weight once.
        input_quantile: Share of the activations that an input range holds.
        calibrate: Trim converters and fit the affine correction of every layer; false shows what
            calibration is worth.
    """

    plan: PlanKind = "resident"
    scaling: Literal["per_matrix", "per_column"] = "per_column"
    fill_rows: int = Field(default=0, ge=0, le=1_000_000)
    input_quantile: float = Field(default=0.99995, gt=0.5, le=1.0)
    calibrate: bool = True


class ProgrammingSection(Section):
    """Which programming methods, one after the other on the same cells.

    Attributes:
        methods: Names in the registry of programming algorithms.
        settings: Settings by method, checked by the algorithm itself.
    """

    methods: tuple[Method, ...] = Field(default=("verify", "gdp"), min_length=1, max_length=3)
    settings: dict[Method, dict[str, JsonValue]] = Field(default_factory=dict)


class TimeSection(Section):
    """When to measure, and what to do about drift.

    Attributes:
        settle_s: Age at which layers are calibrated, s; None is the chip's reference age.
        ages_s: Ages since the last pulse, s, rising. An age that programming and calibration have
            passed already is measured at once.
        compensation: What is tried at every age, each from the state after programming.
    """

    settle_s: Age | None = None
    ages_s: tuple[Age, ...] = Field(default=(0.0, 3_600.0, 86_400.0), min_length=1, max_length=50)
    compensation: tuple[Compensation, ...] = Field(
        default=("none", "affine"), min_length=1, max_length=5
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(b <= a for a, b in zip(self.ages_s, self.ages_s[1:], strict=False)):
            raise ValueError("ages_s must rise")
        if len(set(self.compensation)) != len(self.compensation):
            raise ValueError("compensation lists a mode twice")
        return self


class GoalSection(Section):
    """When the run counts as a success.

    Attributes:
        method: Programming method that is judged, and compared with the others.
        compensation: Drift compensation with which it is judged, named before anything is measured;
            None is the last of `time.compensation`.
        max_accuracy_loss: Most accuracy below software, as a fraction, at every age.
    """

    method: Method = "gdp"
    compensation: Compensation | None = None
    max_accuracy_loss: float = Field(default=0.03, ge=0.0, le=1.0)


class Recipe(Section):
    """A whole experiment; one table of the file per section."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    title: str = Field(min_length=1, max_length=200)
    network: NetworkSection
    data: DataSection
    chip: ChipSection = ChipSection()
    mapping: MappingSection = MappingSection()
    programming: ProgrammingSection = ProgrammingSection()
    time: TimeSection = TimeSection()
    goal: GoalSection = GoalSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        methods = self.programming.methods
        if len(set(methods)) != len(methods):
            raise ValueError("programming.methods lists a method twice")
        if self.goal.method not in methods:
            raise ValueError(
                f"goal.method {self.goal.method!r} is not among programming.methods {list(methods)}"
            )
        tried = self.time.compensation
        if self.goal.compensation not in (None, *tried):
            raise ValueError(
                f"goal.compensation {self.goal.compensation!r} is not among time.compensation "
                f"{list(tried)}"
            )
        unused = set(self.programming.settings) - set(methods)
        if unused:
            raise ValueError(f"programming.settings has {sorted(unused)}, methods has it not")
        return self

    @property
    def judged_compensation(self) -> Compensation:
        """Compensation with which the goal is judged."""
        return self.goal.compensation or self.time.compensation[-1]


def bundled_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return bundled_documents(_SHELF)


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by bundled name or by path and apply "key=value" overrides.

    Raises:
        RequestError: No such recipe, not TOML, an unknown key, a value out of range.
    """
    return load_document(Recipe, _SHELF, name_or_path, overrides)


def parse_recipe(text: str, *, source: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Check recipe text; `source` names it in errors. Raises as `load_recipe`."""
    return parse_document(Recipe, text, kind=_SHELF.kind, source=source, overrides=overrides)
