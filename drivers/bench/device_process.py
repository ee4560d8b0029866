"""An instant device in a process of its own, at the other end of a loopback socket.

`python -m drivers.bench.device_process PORT WINDOW BLOCK [timed]` connects to 127.0.0.1:PORT,
serves until the host hangs up, and prints one line of JSON: requests, s of processor time, and s of
decoding, executing and encoding.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import time

from drivers.bench.instant_device import InstantDevice

__all__ = ["serve_socket"]


def serve_socket(port: int, *, window: int, block: int, timed: bool) -> dict[str, object]:
    """Serve the host that listens at a port of this machine; return what was counted.

    `block` bytes are read at a time: what is read together is answered together.
    """
    device = InstantDevice(window=window)
    parts_s = [0.0, 0.0, 0.0]
    gc.freeze()
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cpu_s = time.process_time()
        while data := line.recv(block):
            line.sendall(device.serve_timed(data, parts_s) if timed else device.serve(data))
        cpu_s = time.process_time() - cpu_s
    return {"requests": device.executed, "cpu_s": cpu_s, "parts_s": parts_s}


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:4]]
    told = serve_socket(
        numbers[0], window=numbers[1], block=numbers[2], timed="timed" in sys.argv[4:]
    )
    print(json.dumps(told))  # noqa: T201 - this is how a process of its own tells
