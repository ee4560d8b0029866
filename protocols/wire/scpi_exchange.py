"""SCPI message exchange: whole messages in, response messages out, the queue between them.

For transports with message boundaries (USBTMC, HiSLIP, VXI-11): what IEEE 488.2, 6.3 asks of a
device when a host does not read an answer, or reads where there is none. No transport, no clock.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.wire.scpi_errors import ScpiError
from protocols.wire.scpi_stream import MAX_MESSAGE_BYTES, MessageSplitter, Plane, ProgramText

__all__ = ["MessageExchange"]


class MessageExchange:
    """The input and output queue of one session; each message is carried out when it is whole."""

    def __init__(
        self,
        execute: Callable[[bytes], bytes],
        report: Callable[[ScpiError], None],
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """Take what carries a message out and returns its response, and what queues an error."""
        self._execute = execute
        self._report = report
        self._splitter = MessageSplitter(max_bytes)
        self._response = memoryview(b"")

    @property
    def message_available(self) -> bool:
        """Whether a response, or its rest, waits to be read."""
        return bool(self._response)

    def write(self, data: bytes, *, end: bool) -> None:
        """Take the next part of a message; `end` is the transport's mark of its end.

        A response that nobody has read is dropped (-410).
        """
        self._interrupt()
        found, at = self._splitter.take(data, 0)
        while found is not None:
            self._carry_out(found)
            found, at = self._splitter.take(data, at)
        if end and (last := self._splitter.end()) is not None:
            self._carry_out(last)

    def read(self, max_bytes: int) -> tuple[bytes, bool]:
        """Return the next bytes of the response and whether they end it.

        Nothing to read is an error of the host (-420): no bytes come.
        """
        if not self._response:
            self._report(ScpiError(-420, "there is no response to read"))
            return b"", True
        data, self._response = self._response[:max_bytes].tobytes(), self._response[max_bytes:]
        return data, not self._response

    def drop_response(self) -> None:
        """Forget the response, read or not."""
        self._response = memoryview(b"")

    def clear(self) -> None:
        """Forget the unfinished message and the response: the transport's device clear."""
        self._splitter.drop()
        self.drop_response()

    def _interrupt(self) -> None:
        if self._response:
            self.drop_response()
            self._report(ScpiError(-410, "a message came before the last response was read"))

    def _carry_out(self, found: ProgramText | ScpiError | Plane) -> None:
        self._interrupt()
        if isinstance(found, ScpiError):
            self._report(found)
        elif isinstance(found, Plane):
            self._report(ScpiError(-101, "a zero byte; frames cross in a block of DIAG:FRAM?"))
        else:
            self._response = memoryview(self._execute(found.text))
