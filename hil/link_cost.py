"""What a request costs on the byte link: bytes each way, by the packings of the board protocol.

Arithmetic on sizes alone; the protocol's own document (protocols/wire/SPEC.md) is the source of
every constant. Knows no message and no port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hil.address import parse_address
from hil.errors import RequestError

if TYPE_CHECKING:
    from hil.info import CoreInfo
    from hil.units import CodeScale

__all__ = ["Traffic", "framed", "link_rate", "mvm_traffic", "pulse_traffic", "read_traffic"]

WHOLE_BYTES, PIECE_BYTES = 8141, 8101
"""Largest payload that crosses in one frame; what each frame carries of a larger one."""
HEADER_BYTES, CRC_BYTES, DELIMITER_BYTES = 12, 4, 1
PLACE_BYTES, DIGEST_BYTES = 8, 32
"""Offset and total before every piece; SHA-256 behind the last."""
COBS_SHARE = 0.0023
"""Bytes that COBS adds to random ones, beside one a frame: (1/256) q / (1 - q), q = (255/256)^254.
At worst, without any zero, it is 1/254."""
MVM_REQUEST_BYTES, MVM_REPLY_BYTES = 31, 33
READ_REQUEST_BYTES, READ_REPLY_BYTES = 19, 29
PULSE_REQUEST_BYTES, PULSE_REPLY_BYTES = 47, 17
"""Fields of the messages besides their arrays."""
BITS_PER_SERIAL_BYTE = 10
"""Start bit, eight bits, stop bit."""
_INPUT_BITS, _OUTPUT_BITS = (1, 2, 4, 8, 16, 32), (8, 12, 16, 32)
_BAUD = 115_200
"""A serial line whose address says nothing."""


class Traffic(NamedTuple):
    """Bytes on the line: from the host, to the host."""

    bytes_out: int
    bytes_in: int

    def times(self, factor: float) -> Traffic:
        """Return that many times as much."""
        return Traffic(round(factor * self.bytes_out), round(factor * self.bytes_in))

    def plus(self, other: Traffic) -> Traffic:
        """Return both together."""
        return Traffic(self.bytes_out + other.bytes_out, self.bytes_in + other.bytes_in)

    def seconds(self, bytes_per_s: float) -> float:
        """Time on a line that carries so much each way at once, s."""
        return max(self.bytes_out, self.bytes_in) / bytes_per_s


def framed(payload: int) -> int:
    """Bytes on the line of a message with `payload` bytes: header, CRC, COBS, delimiter, pieces."""
    if payload <= WHOLE_BYTES:
        return _frame(payload)
    pieces, rest = divmod(payload - 1, PIECE_BYTES)
    return pieces * _frame(PLACE_BYTES + PIECE_BYTES) + _frame(
        PLACE_BYTES + rest + 1 + DIGEST_BYTES
    )


def _frame(payload: int) -> int:
    coded = HEADER_BYTES + payload + CRC_BYTES
    return coded + 1 + round(COBS_SHARE * coded) + DELIMITER_BYTES


def mvm_traffic(info: CoreInfo, batch: int, inputs: int, outputs: int) -> Traffic:
    """Bytes of one MVM request of `batch` vectors, and of its reply with the saturation bitmap."""
    sent = -(-batch * inputs * _bits(info.input, _INPUT_BITS) // 8)
    codes = -(-batch * outputs * _bits(info.output_codes, _OUTPUT_BITS) // 8)
    flags = -(-batch * outputs // 8)
    return Traffic(framed(MVM_REQUEST_BYTES + sent), framed(MVM_REPLY_BYTES + codes + flags))


def pulse_traffic(info: CoreInfo, entries: int) -> Traffic:
    """Bytes of one pulse request with `entries` entries, as a list, and of its reply."""
    limits = info.pulses[0]
    scales = (limits.amplitude, limits.width)
    entry = _place_bytes(info) + sum(_item(s.min_code, s.max_code) for s in scales)
    entry += _item(0, max(p.max_count for p in info.pulses))
    return Traffic(framed(PULSE_REQUEST_BYTES + entries * entry), framed(PULSE_REPLY_BYTES))


def read_traffic(info: CoreInfo, entries: int) -> Traffic:
    """Bytes of one request to read `entries` devices, and of its reply."""
    codes = -(-entries * _bits(info.read, _OUTPUT_BITS) // 8) + -(-entries // 8)
    sent = READ_REQUEST_BYTES + entries * _place_bytes(info)
    return Traffic(framed(sent), framed(READ_REPLY_BYTES + codes))


def link_rate(address: str, given: float | None = None) -> float | None:
    """Return what the link carries each way, bytes/s: as given, or by the address (rate, baud).

    None where an address has no byte link of known speed.

    Raises:
        RequestError: The baud rate is no number.
    """
    if given is not None:
        return given
    parsed = parse_address(address)
    if "rate" in parsed.options:
        return parsed.number("rate", 1.0, 1.0, 1e12)
    if parsed.scheme == "serial" or "baud" in parsed.options:
        return parsed.integer("baud", _BAUD, 1, 1_000_000_000) / BITS_PER_SERIAL_BYTE
    return None


def _place_bytes(info: CoreInfo) -> int:
    return sum(_item(0, n - 1) for n in (info.devices_per_cell, info.rows, info.cols))


def _item(low: int, high: int) -> int:
    """Bytes of a signed integer that holds low...high."""
    for size in (1, 2, 4):
        if -(1 << (8 * size - 1)) <= low and high < 1 << (8 * size - 1):
            return size
    raise RequestError(f"codes {low}...{high} do not fit 32 bits")


def _bits(scale: CodeScale, known: tuple[int, ...]) -> int:
    """Bits of the smallest packing that holds a scale, two's complement where it has a sign."""
    for bits in known:
        if scale.min_code < 0:
            low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        else:
            low, high = 0, (1 << bits) - 1
        if low <= scale.min_code and scale.max_code <= high:
            return bits
    return known[-1]
