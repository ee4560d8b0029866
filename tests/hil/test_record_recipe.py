"""Recipes: unknown keys, ranges and overrides are refused in one sentence with the next step."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import RequestError
from hil.recipe import Recipe, bundled_recipes, load_recipe, parse_recipe

MINIMAL = """
schema_version = 1
name = "small"
title = "Small"
network = { checkpoint = "x" }
data = { dataset = "digits" }
"""


@pytest.mark.parametrize("name", bundled_recipes())
def test_every_bundled_recipe_is_valid_and_named_as_its_file(name):
    assert load_recipe(name).name == name.replace("_", "-")


def test_defaults_fill_what_a_recipe_leaves_out():
    recipe = parse_recipe(MINIMAL, source="small")
    assert recipe.time.ages_s == (0.0, 3600.0, 86400.0)
    assert recipe.mapping.plan == "resident"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("colour=1", ["unknown key 'colour'", "known: ", "network"]),
        ("data.sample=5", ["unknown key 'data.sample'", "samples"]),
        (
            "data.samples=-5",
            ["data.samples = -5", "greater than or equal to 1", "--set data.samples"],
        ),
        ("time.ages_s=[5, 1]", ["ages_s must rise"]),
        ("time.ages_s=[nan]", ["finite"]),
        ("time.compensation=['affine','affine']", ["twice"]),
        ("programming.methods=['magic']", ["'magic'", "'gdp'", "--set programming.methods="]),
        ("programming.methods=['verify']", ["goal.method 'gdp'", "verify"]),
        ("programming.settings.open_loop.a=1", ["open_loop"]),
        ("network.checkpoint.name=1", ["'checkpoint'", "not a table"]),
        ("samples", ["not key=value", "for example --set"]),
        ("=3", ["not key=value"]),
        ("schema_version=2", ["schema_version = 2"]),
        ("chip.seeds=[-1]", ["chip.seeds.0 = -1"]),
        ("chip.seeds=[3, 4, 3]", ["seeds lists a chip twice"]),
        ("goal.compensation=per_column", ["'per_column'", "not among time.compensation"]),
    ],
)
def test_a_bad_override_is_one_sentence_with_value_range_and_next_step(override, words):
    with pytest.raises(RequestError) as caught:
        load_recipe("digits", (override,))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_missing_key_is_named():
    with pytest.raises(RequestError, match=r"'network' is missing"):
        parse_recipe(MINIMAL.replace("network", "# network"), source="small")


def test_text_that_is_not_toml_and_recipes_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(RequestError, match="not valid TOML"):
        parse_recipe("a = = 1", source="x")
    with pytest.raises(RequestError, match=r"bundled recipes: .*digits"):
        load_recipe("no-such-recipe")
    with pytest.raises(RequestError, match="cannot be read"):
        load_recipe(str(tmp_path / "gone.toml"))
    with pytest.raises(RequestError, match="neither a file nor bundled"):
        load_recipe(str(tmp_path))


@given(st.integers(1, 10_000_000))
def test_an_override_reads_back_as_it_was_written(samples):
    assert load_recipe("digits", (f"data.samples={samples}",)).data.samples == samples


def test_later_overrides_win_and_bare_words_are_text():
    recipe = load_recipe(
        "digits", ("mapping.plan=resident", "mapping.plan=reprogram", "goal.method=verify")
    )
    assert recipe.mapping.plan == "reprogram"
    assert recipe.goal.method == "verify"


def test_the_last_compensation_is_judged_unless_the_goal_names_one():
    assert load_recipe("digits").judged_compensation == "affine"
    assert load_recipe("digits", ("goal.compensation=none",)).judged_compensation == "none"


def test_a_recipe_survives_its_own_document():
    recipe = load_recipe("digits")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_every_key_of_a_recipe_is_documented_and_no_other():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
    keys = set()
    for name, field in Recipe.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        keys |= {f"{name}.{key}" for key in inner} if inner else {name}
    assert documented == keys
