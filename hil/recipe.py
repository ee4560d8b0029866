"""Lab recipes: TOML text to a checked document. Knows what an experiment may ask; runs nothing."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from hil.errors import RequestError

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

_RECIPE_PACKAGE = "protocols"
_RECIPE_FOLDER = "lab"


class Section(BaseModel):
    """A table of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class ChipSection(Section):
    """Which chip.

    Attributes:
        address: Default address; `--core` overrides it.
        seeds: Repeat the recipe once per seed, each on the chip of that seed (simulated chips);
            empty runs it once on the address as it stands.
    """

    address: str = "sim:hermes?cores=2&seed=7"
    seeds: tuple[Seed, ...] = Field(default=(), max_length=1000)


class NetworkSection(Section):
    """Which network: a bundled checkpoint by name, or the path of a safetensors file."""

    checkpoint: str = Field(min_length=1)


class DataSection(Section):
    """Which data.

    Attributes:
        dataset: Name in the dataset registry; `--data` gives the folder of those that need one.
        samples: Test images, from the first; None is the whole test split.
        calibration_samples: Training images used for input ranges and batch-norm statistics.
    """

    dataset: str = Field(min_length=1)
    samples: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    calibration_samples: int = Field(default=256, ge=2, le=100_000)


class MappingSection(Section):
    """How the network lies on the cores.

    Attributes:
        plan: All layers at once (resident) or written in turn (reprogram).
        scaling: One weight scale per matrix, or one per column.
        input_quantile: Share of the activations that an input range holds.
    """

    plan: PlanKind = "resident"
    scaling: Literal["per_matrix", "per_column"] = "per_column"
    input_quantile: float = Field(default=0.99995, gt=0.5, le=1.0)


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
        method: Programming method that is judged.
        max_accuracy_loss: Most accuracy below software, as a fraction, at every age with the best
            compensation of the list.
    """

    method: Method = "gdp"
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
        unused = set(self.programming.settings) - set(methods)
        if unused:
            raise ValueError(f"programming.settings has {sorted(unused)}, methods has it not")
        return self


def bundled_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    folder = resources.files(_RECIPE_PACKAGE) / _RECIPE_FOLDER
    return tuple(
        sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
    )


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by bundled name or by path and apply "key=value" overrides.

    Raises:
        RequestError: No such recipe, not TOML, an unknown key, a value out of range.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.exists():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"recipe {name_or_path!r} cannot be read ({error}); bundled recipes: "
                f"{', '.join(bundled_recipes())}"
            ) from error
    elif name_or_path in bundled_recipes():
        source = resources.files(_RECIPE_PACKAGE) / _RECIPE_FOLDER / f"{name_or_path}.toml"
        text = source.read_text(encoding="utf-8")
    else:
        raise RequestError(
            f"recipe {name_or_path!r} is neither a file nor bundled; bundled recipes: "
            f"{', '.join(bundled_recipes())}"
        )
    return parse_recipe(text, source=name_or_path, overrides=overrides)


def parse_recipe(text: str, *, source: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """Check recipe text; `source` names it in errors. Raises as `load_recipe`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"recipe {source!r} is not valid TOML: {error}") from error
    for override in overrides:
        _override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RequestError(f"recipe {source!r}: {_sentence(error)}") from error


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RequestError(
            f"--set {override!r} is not key=value; for example --set data.samples=64"
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is text, as on any command line
    *parents, last = key.split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise RequestError(f"--set {override!r}: {name!r} is a value, not a table")
    table[last] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(place[:-1]))
        return f"unknown key {key!r}; known: {known}"
    if first["type"] == "missing":
        return f"key {key!r} is missing; add it, or give --set {key}=VALUE"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}; correct the recipe or use --set"
    settable = ".".join(part for part in place if not part.isdigit())
    message = message[0].lower() + message[1:]
    return f"{key} = {first['input']!r}: {message}; correct it, or give --set {settable}=VALUE"


def _known_keys(place: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for name in place:
        annotation = model.model_fields[name].annotation
        candidates = [annotation, *get_args(annotation)]
        found = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
        if found is None:
            return []
        model = found
    return list(model.model_fields)
