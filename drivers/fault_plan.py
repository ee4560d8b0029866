"""Fault plan: what goes wrong on a line and with a board, and how often. Seeded; no I/O, no clock.

Faults of the line strike frames (what ends with a zero byte, or a line of text): the same bytes
meet the same faults however they are split on the way.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple, Self, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.errors import RequestError

__all__ = ["FaultCounts", "FaultPlan", "FaultyLine", "Piece"]

LONGEST_FRAME_BYTES = 1 << 14
"""Bytes without a delimiter that are kept; more are no frame, and pass as one."""

_DRAWS = 16  # numbers for each frame, used or not
_FRAMES_AT_ONCE = 128
_MOST_CUTS = 7
_ZERO, _NEWLINE, _BLANK = b"\x00", b"\n", b" \t\r\n"
_TEXT = bytes([9, 10, 13, *range(32, 127)])

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class FaultPlan(BaseModel):
    """Shares of frames for faults of the line, counts for faults of the board.

    Attributes:
        loss: Frames that do not arrive.
        flip: Frames with one bit turned.
        duplicate: Frames that arrive twice.
        delay: Frames, with all behind them, that are held up by `delay_s`.
        delay_s: How long, s.
        split: Frames that arrive in up to eight parts.
        reset_after: The board resets after so many frames; 0: never. Counted anew after each.
        brownout_mid_program: Which pulse request, from 1, loses power half-way; 0: none.
        boot_text: Whether the board prints lines of text when it starts.
        seed: Of every draw.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: Share = 0.0
    flip: Share = 0.0
    duplicate: Share = 0.0
    delay: Share = 0.0
    delay_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 0.01
    split: Share = 0.0
    reset_after: Annotated[int, Field(ge=0)] = 0
    brownout_mid_program: Annotated[int, Field(ge=0)] = 0
    boot_text: bool = False
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0

    @property
    def line_is_perfect(self) -> bool:
        """Whether no frame ever meets a fault."""
        return not (self.loss or self.flip or self.duplicate or self.delay or self.split)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "loss=0.01,flip=0.01,..." or a TOML file with the same keys.

        Raises:
            RequestError: A key is unknown, a value out of range, the file cannot be read.
        """
        values: dict[str, object] = {}
        if text.endswith(".toml"):
            try:
                values = tomllib.loads(Path(text).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise RequestError(f"fault plan {text} cannot be read: {error}") from error
        else:
            for part in filter(None, (p.strip() for p in text.split(","))):
                key, equals, value = part.partition("=")
                if not equals:
                    raise RequestError(f"fault plan: {part!r} is not key=value")
                if key in values:
                    raise RequestError(f"fault plan: {key!r} is given twice")
                values[key] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RequestError(_what_is_wrong(cls, error)) from error


def _what_is_wrong(model: type[FaultPlan], error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if key not in model.model_fields:
        return f"fault plan: unknown key {key!r}; known: {', '.join(model.model_fields)}"
    return f"fault plan: {key}={first['input']!r}: {first['msg']}"


@dataclass(kw_only=True)
class FaultCounts:
    """What was done so far."""

    frames: int = 0
    lost: int = 0
    flipped: int = 0
    duplicated: int = 0
    delayed: int = 0
    split: int = 0
    resets: int = 0
    brownouts: int = 0


class Piece(NamedTuple):
    """Bytes that arrive at once, held up by `hold_s`, with all behind them."""

    data: bytes
    hold_s: float


@final
@dataclass(kw_only=True)
class FaultyLine:
    """One direction of a line: bytes in, pieces out, with the plan's faults.

    Attributes:
        plan: What goes wrong.
        stream, direction: Which line of the plan's seed; each has draws of its own.
        counts: Where to count; may be shared.
    """

    plan: FaultPlan
    stream: int = 0
    direction: int = 0
    counts: FaultCounts = field(default_factory=FaultCounts)

    def __post_init__(self) -> None:
        seed = np.random.SeedSequence([self.plan.seed, self.stream, self.direction])
        self._generator = np.random.Generator(np.random.Philox(seed))
        self._draws = iter(self._endless_draws())
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Piece]:
        """Return what arrives now: whole frames; the rest waits for its delimiter."""
        if self.plan.line_is_perfect:
            self.counts.frames += data.count(_ZERO)
            return [Piece(data, 0.0)] if data else []
        self._buffer += data
        return [piece for frame in self._frames() for piece in self._strike(frame)]

    def clear(self) -> None:
        """Forget an unfinished frame: the line was cut."""
        self._buffer.clear()

    def _frames(self) -> Iterator[bytes]:
        while self._buffer:
            end = self._buffer.find(_ZERO)
            blank = len(self._buffer) - len(self._buffer.lstrip(_BLANK))
            newline = self._buffer.find(_NEWLINE, blank, end if end >= 0 else len(self._buffer))
            if newline >= 0 and not self._buffer[:newline].translate(None, _TEXT):
                end = newline
            if end < 0 and len(self._buffer) < LONGEST_FRAME_BYTES:
                return
            end = len(self._buffer) - 1 if end < 0 else end
            frame = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            yield frame

    def _strike(self, frame: bytes) -> Iterator[Piece]:
        plan, counts, draws = self.plan, self.counts, next(self._draws)
        counts.frames += 1
        if draws[0] < plan.loss:
            counts.lost += 1
            return
        if draws[1] < plan.flip:
            counts.flipped += 1
            frame = _flipped(frame, draws[2])
        hold_s = 0.0
        if draws[3] < plan.delay:
            counts.delayed += 1
            hold_s = plan.delay_s
        parts = [frame]
        if draws[4] < plan.split and len(frame) > 1:
            counts.split += 1
            parts = _cut(frame, draws[5], draws[9:])
        copies = 1
        if draws[6] < plan.duplicate:
            counts.duplicated += 1
            copies = 2
        for part in parts * copies:
            yield Piece(part, hold_s)
            hold_s = 0.0

    def _endless_draws(self) -> Iterator[list[float]]:
        while True:
            yield from self._generator.random((_FRAMES_AT_ONCE, _DRAWS)).tolist()


def _flipped(frame: bytes, draw: float) -> bytes:
    bit = int(draw * 8 * len(frame))
    turned = bytearray(frame)
    turned[bit // 8] ^= 1 << bit % 8
    return bytes(turned)


def _cut(frame: bytes, how_many: float, where: list[float]) -> list[bytes]:
    cuts = 1 + int(how_many * _MOST_CUTS)
    places = sorted({1 + int(draw * (len(frame) - 1)) for draw in where[:cuts]})
    edges = [0, *places, len(frame)]
    return [frame[a:b] for a, b in pairwise(edges)]
