"""SCPI messages: golden vectors, round trips, every refusal with its standard number."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import wire
from protocols.wire.errors import LocalProtocolError
from protocols.wire.scpi import (
    MAX_COMMANDS,
    MAX_PARAMETERS,
    Command,
    encode_command,
    encode_data,
    encode_response,
    parse_message,
    parse_response,
)
from protocols.wire.scpi_data import (
    Block,
    Data,
    Numeric,
    Quoted,
    Value,
    Word,
    encode_block,
    encode_value,
    value_of,
)
from protocols.wire.scpi_errors import MAX_ERROR_TEXT, STANDARD_TEXTS, ScpiError

VECTORS = json.loads((Path(wire.__path__[0]) / "scpi_vectors.json").read_text(encoding="utf-8"))

words = st.from_regex(r"[A-Z][A-Z0-9_]{0,11}", fullmatch=True)
values: st.SearchStrategy[Value] = (
    st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats()
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
    | st.binary(max_size=40)
    | words.map(Word)
)
headers = st.builds(
    lambda nodes, mark: ":" + ":".join(nodes) + mark,
    st.lists(words, min_size=1, max_size=8),
    st.sampled_from(["", "?"]),
)


def datum(vector: dict[str, str]) -> Data:
    match vector:
        case {"number": number}:
            return Numeric(value=Decimal(number), suffix=vector.get("unit", ""))
        case {"word": word}:
            return Word(word)
        case {"string": text}:
            return Quoted(text)
    return Block(bytes.fromhex(vector["block"]))


def value(vector: dict[str, Any]) -> Value:
    ((kind, it),) = vector.items()
    if kind == "word":
        return Word(it)
    return bytes.fromhex(it) if kind == "block" else it


def same(a: Value, b: Value) -> bool:
    """Equal; a real without fraction may come back as an integer."""
    return a == b or all(isinstance(x, float) and math.isnan(x) for x in (a, b))


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: v["name"])
def test_a_golden_message_is_understood(vector):
    found = parse_message(vector["text"].encode("latin1"))
    assert [command.header for command in found] == [c[0] for c in vector["commands"]]
    expected = [[datum(d) for d in c[1:]] for c in vector["commands"]]
    assert [list(command.parameters) for command in found] == expected


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda v: f"{v['error']} {v['text']!r}")
def test_a_bad_message_is_refused_with_its_number(vector):
    with pytest.raises(ScpiError) as caught:
        parse_message(vector["text"].encode("latin1"))
    assert caught.value.number == vector["error"]
    assert caught.value.text.startswith(STANDARD_TEXTS[vector["error"]])


@pytest.mark.parametrize("vector", VECTORS["responses"], ids=lambda v: str(v["values"]))
def test_a_golden_response_is_made_and_understood(vector):
    expected = bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode("ascii")
    given_values = [value(v) for v in vector["values"]]
    assert encode_data(given_values) == expected
    (answer,) = parse_response(expected + b"\n")
    assert [value_of(d) for d in answer] == given_values


def test_what_is_no_number_has_a_number():
    numbers = {"nan": math.nan, "infinity": math.inf, "minus_infinity": -math.inf}
    assert {k: encode_value(v).decode() for k, v in numbers.items()} == VECTORS["not_finite"]
    (back,) = parse_response(encode_data(numbers.values()))
    assert all(same(value_of(d), v) for d, v in zip(back, numbers.values(), strict=True))


@given(headers, st.lists(values, max_size=6))
def test_a_command_comes_back(header, parameters):
    (command,) = parse_message(encode_command(header, *parameters))
    assert ":" + command.header == header
    back = [value_of(d) for d in command.parameters]
    assert all(same(a, b) for a, b in zip(back, parameters, strict=True))


@given(st.lists(st.lists(values, min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_response_comes_back(answers):
    message = encode_response([encode_data(answer) for answer in answers])
    back = [[value_of(d) for d in answer] for answer in parse_response(message)]
    assert all(
        all(same(a, b) for a, b in zip(x, y, strict=True))
        for x, y in zip(back, answers, strict=True)
    )


def error_of(parse: Callable[[bytes], object], text: bytes) -> ScpiError | None:
    try:
        parse(text)
    except ScpiError as error:
        return error
    return None


@given(st.binary(max_size=60), st.sampled_from([parse_message, parse_response]))
def test_any_bytes_are_commands_or_a_documented_error(text, parse):
    error = error_of(parse, text)
    if error is not None:
        assert -499 <= error.number <= -100
        assert len(error.text) <= MAX_ERROR_TEXT
        assert error.text.isprintable()
        assert error.text.isascii()


def test_no_query_no_response():
    assert encode_response([]) == b""
    assert encode_response([b""]) == b"\n"
    assert parse_response(b"") == ()


def test_the_path_of_a_common_command_is_its_name():
    assert parse_message(b"*opc?") == (Command(path=("*OPC",), query=True),)


@pytest.mark.parametrize("text", [b"*SYST:ERR?", b"*:IDN?", b":*IDN?"])
def test_a_common_command_has_no_colon(text):
    with pytest.raises(ScpiError):
        parse_message(text)


def test_a_message_is_bounded():
    parse_message(b";".join([b"*CLS"] * MAX_COMMANDS))
    with pytest.raises(ScpiError, match="-223"):
        parse_message(b";".join([b"*CLS"] * (MAX_COMMANDS + 1)))
    parse_message(b"A " + b",".join([b"1"] * MAX_PARAMETERS))
    with pytest.raises(ScpiError, match="-223"):
        parse_message(b"A " + b",".join([b"1"] * (MAX_PARAMETERS + 1)))
    with pytest.raises(ScpiError, match="-113"):
        parse_message(b";".join([b"A:B:C"] * 4))


def test_many_digits_are_read_and_too_many_refused():
    (command,) = parse_message(b"*ESE " + b"0" * 1000 + b"9" * 255)
    assert command.parameters[0] == Numeric(value=Decimal("9" * 255))
    for digits in (b"9" * 256, b"#H" + b"F" * 256):
        with pytest.raises(ScpiError, match=r"-12[14]"):
            parse_message(b"*ESE " + digits)


@pytest.mark.parametrize(
    "text",
    [
        b":A" * 500_000,
        b"A" * 1_000_000,
        b"A " + b"9" * 1_000_000,
        b"A 1E" + b"0" * 1_000_000 + b"5",
        b"A 1E" + b"9" * 1_000_000,
        b"A #H" + b"F" * 1_000_000,
        b'A "' + b'""' * 500_000,
        b"A '" + b"x" * 1_000_000,
        b"A 1" + b"Z" * 1_000_000,
        b"A 1" + b" " * 1_000_000 + b"x;",
        b";" * 1_000_000,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_a_megabyte_of_anything_costs_a_few_megabytes(text):
    tracemalloc.start()
    error_of(parse_message, text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_a_number_beyond_a_double_is_infinite_and_none_ever_raises():
    (command,) = parse_message(b"A 1E32000,-1E400,1E-32000")
    assert [value_of(d) for d in command.parameters] == [math.inf, -math.inf, 0.0]


@pytest.mark.parametrize(
    ("header", "value"),
    [("1A", 1), ("A B", 1), ("*A:B", 1), ("A", "\n"), ("A", "é"), ("A", Word("x y")), ("A", 2**64)],
)
def test_what_cannot_be_carried_is_not_sent(header, value):
    with pytest.raises(LocalProtocolError):
        encode_command(header, value)


class Gigabyte(bytes):
    def __len__(self) -> int:
        return 1_000_000_000


def test_a_block_tells_its_length():
    assert encode_block(b"") == b"#10"
    assert encode_block(bytes(10)) == b"#210" + bytes(10)
    with pytest.raises(LocalProtocolError, match="999999999"):
        encode_block(Gigabyte())
    with pytest.raises(ScpiError, match="-138"):
        value_of(Numeric(value=Decimal(1), suffix="K"))
