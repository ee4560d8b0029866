"""Keep-alive: a thread that says, while nobody else does, that the owner of a lease lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hil.errors import HilError

__all__ = ["KeepAlive"]

_logger = logging.getLogger(__name__)

_PATIENCE_S = 1.0  # it may wait for a link that the thread which stops it is using


class KeepAlive:
    """Calls `renew` every third of the lapse time until it is stopped or fails."""

    def __init__(self, renew: Callable[[], None], *, lapse_s: float) -> None:
        self._renew = renew
        self._every_s = lapse_s / 3
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board-keepalive", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._renew()
            except HilError as error:
                _logger.warning("the lease is not kept any more: %s", error)
                return

    def stop(self) -> None:
        """End the thread; twice is fine."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE_S)
