"""SCPI tree and arguments: short and long forms, optional and numbered nodes, units, limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.wire.scpi import encode_command, parse_message
from protocols.wire.scpi_arguments import KELVIN, SECOND, Arguments, short_form
from protocols.wire.scpi_data import Block, Numeric
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_tree import CommandTree, Found

PATTERNS = (
    "*IDN?",
    "SYSTem:ERRor[:NEXT]?",
    "SYSTem:ERRor:COUNt?",
    "[CORE#:]CONFigure:RANGe",
    "[CORE#:]CONFigure:RANGe?",
    "OUTPut#:CHANnel#[:STATe]",
)
TREE = CommandTree({pattern: pattern for pattern in PATTERNS})


def find(text: bytes) -> Found[str]:
    (command,) = parse_message(text)
    return TREE.find(command)


def arguments(text: str) -> Arguments:
    (command,) = parse_message(f"A {text}".encode())
    return Arguments(command.parameters)


def refused(number: int) -> pytest.RaisesExc[ScpiError]:
    return pytest.raises(ScpiError, check=lambda error: error.number == number)


@given(st.sampled_from(PATTERNS), st.data())
def test_every_spelling_of_a_pattern_finds_it(pattern, data):
    text = pattern
    while "[" in text:
        before, _, rest = text.partition("[")
        inner, _, after = rest.partition("]")
        text = before + data.draw(st.sampled_from(["", inner])) + after
    nodes = []
    for node in text.removesuffix("?").strip(":").split(":"):
        name = node.removesuffix("#")
        name = data.draw(st.sampled_from([short_form(name), name]))
        name = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in name)
        number = data.draw(st.sampled_from(["", "1", "20"])) if node.endswith("#") else ""
        nodes.append(name + number)
    found = find((":".join(nodes) + "?" * pattern.endswith("?")).encode())
    assert found.pattern == found.target == pattern


@pytest.mark.parametrize("text", [b"SYST", b"SYSTE:ERR?", b"SYST:ERR", b"X?", b"*IDN", b"CORE2?"])
def test_no_other_header_is_found(text):
    with refused(-113):
        find(text)


@pytest.mark.parametrize("text", [b"SYST1:ERR?", b"CORE1234567:CONF:RANG?", b"CONF2:RANG?"])
def test_a_number_where_none_belongs_is_refused(text):
    with refused(-114):
        find(text)


def test_numbers_are_told_and_absent_nodes_are_not():
    assert find(b"CONF:RANG 1").numbers == {}
    assert find(b"CORE:CONF:RANG 1").numbers == {"CORE": 1}
    assert find(b"OUTP3:CHAN40 1").numbers == {"OUTP": 3, "CHAN": 40}


@pytest.mark.parametrize("other", ["SYSTem:ERRor?", "SYStem:ERRor?", "SYSTem#:ERRor?"])
def test_patterns_that_collide_are_refused(other):
    if other == "SYStem:ERRor?":
        with pytest.raises(ValueError, match="stands for two names"):
            CommandTree({"SYSTem:ERRor?": 1, other: 2})
    else:
        with pytest.raises(ValueError, match=r"short form|one header"):
            CommandTree({"SYSTem:ERRor[:NEXT]?": 1, other: 2})


@given(st.integers(-1000, 1000))
def test_an_integer_is_taken_within_its_limits_alone(value):
    taken = arguments(str(value))
    if -5 <= value <= 300:
        assert taken.integer("x", -5, 300) == value
    else:
        with refused(-222):
            taken.integer("x", -5, 300)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.4", 2), ("2.5", 2), ("3.5", 4), ("-0.4", 0), ("MIN", -5), ("maximum", 9), ("#H9", 9)],
)
def test_an_integer_is_rounded_and_has_names_for_its_limits(text, value):
    assert arguments(text).integer("x", -5, 9) == value


@pytest.mark.parametrize("text", ["9.6", "1E32000", "-1E32000", "-5.6"])
def test_no_rounding_crosses_a_limit(text):
    with refused(-222):
        arguments(text).integer("x", -5, 9)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("300", KELVIN, 300.0),
        ("27 CEL", KELVIN, 300.15),
        ("300000 mK", KELVIN, 300.0),
        ("0.3 ks", SECOND, 300.0),
        ("5 MIN", SECOND, 300.0),
        ("300E6US", SECOND, 300.0),
        ("MAX", SECOND, 1000.0),
    ],
)
def test_a_value_is_converted_exactly(text, unit, value):
    assert arguments(text).real("x", 0.0, 1000.0, unit) == value


@given(st.floats(0, 1000), st.sampled_from([("", 1.0), ("MS", 1e-3), ("NS", 1e-9)]))
def test_a_unit_scales(value, unit):
    suffix, factor = unit
    taken = arguments(f"{value!r} {suffix}").real("x", 0.0, 1000.0, SECOND)
    assert math.isclose(taken, value * factor, rel_tol=1e-15)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5 V", -131),
        ("5 CEL", -131),
        ("1E400", -222),
        ("-1", -222),
        ('"5"', -158),
        ("#15hello", -168),
    ],
)
def test_a_value_that_is_none_is_refused(text, number):
    with refused(number):
        arguments(text).real("x", 0.0, 1000.0, SECOND)


def test_booleans_words_and_blocks():
    truths = ("ON", "off", "1", "0", "0.5", "0.51", "-7")
    assert [arguments(t).boolean() for t in truths] == [True, False, True, False, False, True, True]
    assert arguments("binary").word("BINary", "TEXT") == "BIN"
    taken = arguments('"a",#12bc,3')
    assert (taken.text(), taken.block(), len(taken)) == ("a", b"bc", 1)
    assert taken.next_is(Numeric)
    assert not taken.next_is(Block)


@pytest.mark.parametrize(
    ("take", "text", "number"),
    [
        (lambda a: a.word("BINary"), "BINAR", -224),
        (lambda a: a.word("BINary"), "5", -128),
        (lambda a: a.boolean(), "MAYBE", -224),
        (lambda a: a.text(), "ABC", -148),
        (lambda a: a.integer("x", 0, 9), "5 K", -138),
        (lambda a: (a.integer("x", 0, 9), a.integer("y", 0, 9)), "5", -109),
    ],
)
def test_a_parameter_of_another_kind_is_refused(take, text, number):
    with refused(number):
        take(arguments(text))


def test_a_command_for_a_host_fits_the_tree():
    (command,) = parse_message(encode_command("CORE2:CONF:RANG", 3))
    assert TREE.find(command).numbers == {"CORE": 2}
