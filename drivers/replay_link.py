"""Opens a recording as a board behind a link: the driver's own bytes are compared and answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from typing_extensions import override

from drivers.board import open_board
from drivers.exchanges import exchanges_of
from drivers.replay_bytes import DevicePlayer
from drivers.tape import Kind, Place, TapeReader
from drivers.transport import MemoryTransport
from hil.core import Chip
from hil.info import ChipInfo
from hil.requests import MutationId, MutationReport
from hil.wrapped_core import WrappedCore

__all__ = ["open_replayed_link", "recorded_channel"]


def recorded_channel(tape: TapeReader) -> int | None:
    """Return the number of the link that the recorded chip was reached through; None without one.

    Of links within links it is the one that was opened last: the outermost.
    """
    return max((p.core for p in tape.places if p.kind is Kind.SENT), default=None)


def open_replayed_link(tape: TapeReader, channel: int, info: ChipInfo) -> Chip:
    """Open the board that a recording makes; the chip says of itself what `info` says.

    Raises:
        HilError: What the board driver raises where the recording cannot be opened again.
    """
    places = [p for p in tape.places if p.kind in (Kind.SENT, Kind.RECEIVED) and p.core == channel]
    player = DevicePlayer(tape.path, exchanges_of(_traffic(tape, places)))
    transport = MemoryTransport(player.receive, release=tape.close)
    board = open_board(transport, address=info.address)
    cores = zip(board.cores, info.cores, strict=True)
    return Chip(
        info=info,
        cores=tuple(_Relabelled(core, core_info) for core, core_info in cores),
        _release=board.close,
        _preserve=lambda _: info.address,
    )


def _traffic(tape: TapeReader, places: list[Place]) -> Iterator[tuple[bool, bytes]]:
    for place in places:
        yield place.kind is Kind.SENT, tape.read(place)["bytes"].tobytes()


@final
class _Relabelled(WrappedCore):
    """A core that says of itself that a replay answers; it names no request."""

    @override
    def _do_next_mutation(self) -> MutationId | None:
        return None

    @override
    def _do_fate(self, mutation: MutationId) -> MutationReport | None:
        return None
