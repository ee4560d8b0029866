"""Device emulator: one byte stream of a device, as board firmware would serve it. No I/O.

A device is a dispatcher; each of its streams is an emulator of its own. All of them belong to one
thread, or to a server that takes them one at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from drivers.dispatcher import Client, Dispatcher
from drivers.execution import refusal
from hil.core import Chip
from hil.info import ChipInfo
from protocols.wire import messages as wire
from protocols.wire.errors import LocalProtocolError
from protocols.wire.link import MAX_OBJECT_BYTES, DeviceLink, Incoming
from protocols.wire.vocabulary import ErrorClass, Status

__all__ = ["DeviceEmulator"]

_logger = logging.getLogger(__name__)

MAX_OUTPUT_BYTES = 1 << 28
"""Most bytes that wait for a host that does not read; what comes beyond is lost, as on a line."""


class DeviceEmulator:
    """A stream of a device that executes each request once and in order, and answers it.

    Attributes:
        device: What executes; shared by the streams of one device.
        client: This stream's session there.
    """

    def __init__(
        self,
        device: Dispatcher | Chip,
        *,
        boot: int | None = None,
        window: int = 16,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        """Serve a device; a chip becomes one, with `boot` as its boot id."""
        if isinstance(device, Chip):
            device = Dispatcher(device, boot=boot)
        self.device = device
        self.client = Client(on_event=self._event, on_power_loss=self._lose_power)
        self._link = DeviceLink(window=window, max_object_bytes=max_object_bytes)
        self._max_object_bytes = max_object_bytes
        self._output: list[bytes] = []
        self._output_bytes = 0
        device.connect(self.client)

    # Bytes

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the host, execute what is complete, return the bytes to answer."""
        self.accept(data)
        while self.device.work():
            pass
        return self.take_output()

    def accept(self, data: bytes) -> None:
        """Take bytes from the host; SAFE_STATE acts at once, everything else in `device.work`."""
        link = self._link
        before = link.dropped
        found = link.receive(data)
        wanted = link.take_output()
        self._put(wanted)
        whole = b"\x00" in data.lstrip(b"\x00") and link.dropped == before
        if link.epoch and (found or wanted or whole):
            self.device.heard(self.client)
        self.device.tick()
        for incoming in found:
            self._take(incoming)

    def take_output(self) -> bytes:
        """Return the bytes that wait to be sent: replies, events, what the link wants."""
        if not self._output:
            return b""
        data = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        self._output_bytes = 0
        return data

    def close(self) -> None:
        """The stream is gone: its session ends, its lease is free."""
        self._link.end()
        self.device.disconnect(self.client)

    def _take(self, incoming: Incoming) -> None:
        message = incoming.message
        if isinstance(message, wire.HelloRequest):
            self._answer(incoming, self._hello(incoming, message))
        elif isinstance(message, wire.SafeStateRequest):
            self._answer(incoming, self.device.safe(self.client, incoming.core))
        else:
            self.device.submit(
                self.client,
                incoming.core,
                message,
                incoming.head.payload,
                lambda reply: self._answer(incoming, reply),
            )

    def _hello(self, incoming: Incoming, hello: wire.HelloRequest) -> wire.Message:
        version, device = wire.PROTOCOL_VERSION, self.device
        if not hello.lowest_version <= version <= hello.highest_version:
            text = (
                f"the board speaks protocol version {version}, the host "
                f"{hello.lowest_version}...{hello.highest_version}; update the older of them"
            )
            return refusal(ErrorClass.UNAVAILABLE, Status.NO_COMMON_VERSION, text)
        device.begin_session(self.client, hello.holder)
        return wire.HelloReply(
            version=version,
            epoch=self._link.begin(incoming),
            session=hello.session,
            boot=device.boot,
            window=self._link.window,
            max_object_bytes=self._max_object_bytes,
            capabilities_sha256=device.capabilities_sha256,
            last_mutation=device.ledger.last,
        )

    def _answer(self, incoming: Incoming, reply: wire.Message) -> None:
        epoch = incoming.head.epoch
        if epoch not in (0, self._link.epoch) and not incoming.urgent:
            return  # its session is over
        try:
            data = self._link.reply(incoming, reply)
        except LocalProtocolError as error:
            text = f"the answer cannot be carried: {error}"
            data = self._link.reply(incoming, refusal(ErrorClass.DEVICE_FAULT, Status.FAILED, text))
        self._put(data)

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._output_bytes + len(data) > MAX_OUTPUT_BYTES:
            _logger.warning("the host does not read: %d bytes are dropped", len(data))
            return
        self._output.append(data)
        self._output_bytes += len(data)

    def _event(self, core: int, event: wire.Message) -> None:
        if self._link.epoch or isinstance(event, wire.BootEvent):
            self._put(self._link.event(core, event))

    def _lose_power(self) -> None:
        self._link = DeviceLink(window=self._link.window, max_object_bytes=self._max_object_bytes)
        self._output.clear()
        self._output_bytes = 0

    # What the control plane of this stream stands on

    @property
    def info(self) -> ChipInfo:
        """What the chip says of itself."""
        return self.device.chip.info

    @property
    def token(self) -> int:
        """Fencing token of the lease that this stream's session holds; 0 if it holds none."""
        lease = self.device.leases.held_by(self.client)
        return 0 if lease is None else lease.token

    @property
    def last_mutation(self) -> int:
        """Id of the device's last mutation; 0 before the first."""
        return self.device.ledger.last

    def ask(self, core: int, message: wire.Message) -> wire.Message:
        """Execute a request as if it had come in a frame; an ErrorReply is an answer."""
        return self.device.ask(self.client, core, message)

    def frames(self, data: bytes) -> bytes:
        """Take bytes of the binary plane, return its answers."""
        return self.receive(data)

    def statistics(self) -> Mapping[str, int]:
        """Counters of this stream and its device."""
        return {"requests": self.requests, "dropped": self.dropped, "window": self._link.window}

    def on_scpi(self, execute: Callable[[str], bytes]) -> None:
        """Execute control text that comes in a frame by `execute`."""
        self.client.scpi = execute

    @property
    def requests(self) -> int:
        """Requests that the device has executed so far, on all its streams."""
        return self.device.executed

    @property
    def dropped(self) -> int:
        """Frames that fitted nothing, so far."""
        return self._link.dropped
