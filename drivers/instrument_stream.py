"""Instrument stream: both planes of one byte stream of a device. Bytes in, bytes out; no I/O.

It takes the place of the device's end of the binary plane, which stands behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from drivers.emulator import DeviceEmulator
from drivers.instrument import Instrument
from hil.core import CoreSettings
from protocols.wire import messages as wire
from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_stream import BinaryData, Plane, PlaneDemultiplexer

__all__ = ["InstrumentStream"]

MAX_OUTPUT_BYTES = 8 << 20
"""Text answers that wait to be sent; while there are more, no further message is carried out."""
SILENCE_S = 1.0
"""Silence within a block after which its message is dropped, s."""


class InstrumentStream:
    """One byte stream: control plane after power-up, then the plane it is switched to.

    Attributes:
        emulator: The binary plane of this stream.
        instrument: Its control plane.
    """

    def __init__(
        self,
        emulator: DeviceEmulator,
        power_on: Sequence[CoreSettings],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put a control plane before a stream's binary one; *RST restores `power_on`."""
        self.emulator = emulator
        self.instrument = Instrument(emulator, power_on)
        self._power_on = power_on
        self._clock = clock
        self._planes = PlaneDemultiplexer()
        self._heard_s = clock()
        self._output: list[bytes] = []
        self._output_bytes = 0
        client = emulator.client
        self._tell, self._lose_power = client.on_event, client.on_power_loss
        client.on_event, client.on_power_loss = self._event, self._start_again
        emulator.on_scpi(self.instrument.execute_framed)

    @property
    def plane(self) -> Plane:
        """Who reads the stream now."""
        return self.instrument.bench.plane

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host, execute what is complete, return the bytes to answer."""
        self.accept(data)
        parts: list[bytes] = []
        while True:
            while self.emulator.device.work():
                pass
            part = self.take_output()
            if not part:
                return b"".join(parts)
            parts.append(part)

    def accept(self, data: bytes) -> None:
        """Take bytes from the host in any split.

        Commands are carried out at once, frames by the work of the device; SAFE at once in both.
        """
        self.emulator.device.tick()
        now_s = self._clock()
        if data and now_s - self._heard_s > SILENCE_S:
            error = self._planes.lapse()
            if error is not None:
                self.instrument.report(error)
        if data:
            self._heard_s = now_s
        self._planes.feed(data)
        self._go_on()

    def take_output(self) -> bytes:
        """Return the bytes that wait to be sent; while there are some, there may be more."""
        data = b"".join((*self._output, self.emulator.take_output()))
        self._output.clear()
        self._output_bytes = 0
        self._go_on()
        return data

    def close(self) -> None:
        """The stream is gone: its session ends, its lease is free."""
        self.emulator.close()

    def _go_on(self) -> None:
        while self._output_bytes < MAX_OUTPUT_BYTES:
            bench = self.instrument.bench
            self._planes.plane = bench.plane
            item = self._planes.take()
            bench.plane = self._planes.plane
            if item is None:
                return
            if isinstance(item, BinaryData):
                self.emulator.accept(item.data)
            elif isinstance(item, ScpiError):
                self.instrument.report(item)
            else:
                self.emulator.device.heard(self.emulator.client)
                self._put(self.emulator.take_output())
                self._put(self.instrument.execute(item.text))

    def _put(self, data: bytes) -> None:
        if data:
            self._output.append(data)
            self._output_bytes += len(data)

    def _event(self, core: int, event: wire.Message) -> None:
        if self.plane is Plane.BINARY:  # a terminal is told nothing that it cannot read
            self._tell(core, event)

    def _start_again(self) -> None:
        self._lose_power()
        self.instrument = Instrument(self.emulator, self._power_on)
        self.emulator.on_scpi(self.instrument.execute_framed)
        self._planes = PlaneDemultiplexer()
        self._output.clear()
        self._output_bytes = 0
