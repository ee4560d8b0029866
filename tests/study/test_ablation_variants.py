"""Variants of an ablation: one thing changed each, on any address that can do without it."""

from dataclasses import fields

import pytest

from hil.ablation import PARTS, REFERENCE, parts_for, plan_variants
from hil.address import parse_address
from hil.backends import open_chip
from hil.errors import RequestError
from hil.recipe import load_recipe
from sim_backend.pcm import Effects

RECIPE = load_recipe("digits")
SIM = "sim:hermes?cores=2&seed=7"


def variants_of(address=SIM, parts=PARTS, adc_bits=(6, 4)):
    return {v.name: v for v in plan_variants(RECIPE, address, parts=parts, adc_bits=adc_bits)}


def effects_off(address):
    return set(filter(None, parse_address(address).options.get("off", "").split("+")))


def test_the_reference_is_the_recipe_as_it_is_and_comes_first():
    variants = variants_of()
    assert next(iter(variants)) == REFERENCE
    assert (variants[REFERENCE].recipe, variants[REFERENCE].address) == (RECIPE, SIM)


def test_every_variant_differs_from_the_reference_in_one_thing():
    for name, variant in variants_of().items():
        if name != REFERENCE:
            changed = (variant.recipe != RECIPE) + (variant.address != SIM)
            assert changed == 1, name


def test_everything_is_every_effect_that_a_simulated_chip_has():
    assert effects_off(variants_of()["everything"].address) == {f.name for f in fields(Effects)}


def test_the_parts_of_a_chip_share_no_effect_and_leave_none_out():
    parts = [n for n in PARTS if n not in ("calibration", "compensation", "adc", "everything")]
    off = [effects_off(variants_of(parts=[part])[part.replace("_", "-")].address) for part in parts]
    assert sum(map(len, off)) == len(fields(Effects))
    assert set().union(*off) == {f.name for f in fields(Effects)}


def test_every_address_opens_the_same_chip():
    for variant in variants_of("sim:hermes?rows=16&cols=16&seed=3").values():
        with open_chip(variant.address) as chip:
            assert chip.serial == "SIM-HERMES-0000003"


def test_what_is_off_already_stays_off():
    address = "sim:hermes?off=drift"
    assert effects_off(variants_of(address, ["wire"])["wire"].address) == {"drift", "wire"}


def test_converters_lose_bits_and_nothing_else():
    with open_chip(variants_of()["adc-4"].address) as chip:
        assert chip.info.cores[0].output_codes.bits == 4


def test_without_calibration_the_recipe_says_so():
    assert variants_of()["calibration"].recipe.mapping.calibrate is False


@pytest.mark.parametrize("address", ["serial:/dev/ttyUSB0", "visa:TCPIP::board", "replay:runs/a"])
def test_on_silicon_only_what_the_host_does_can_be_taken_away(address):
    assert parts_for(address) == ("calibration", "compensation")
    assert set(variants_of(address, parts_for(address))) == {REFERENCE, "calibration"}
    with pytest.raises(RequestError, match=r"'wire' can only be taken away from a simulated chip"):
        variants_of(address, ["wire"])


def test_a_simulated_chip_behind_the_board_protocol_is_a_simulated_chip():
    variants = variants_of(f"loopback:{SIM}", ["wire"])
    assert variants["wire"].address.startswith("loopback:sim:hermes?")
    assert effects_off(variants["wire"].address.removeprefix("loopback:")) == {"wire"}


def test_an_unknown_part_is_answered_with_the_known_ones():
    with pytest.raises(RequestError, match=r"'wires' is unknown; known: all, calibration, .*wire"):
        variants_of(parts=["wires"])
