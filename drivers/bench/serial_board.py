"""A real `hil emulate` board at a throttled pseudo-terminal, driven through the whole driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from drivers.board_core import BoardCore
from drivers.packing import pack_codes
from hil.backends import open_chip
from hil.bench.line import SerialRate
from hil.core import MvmRequest
from hil.errors import CoreUnavailableError, RequestError
from hil.stimulus import InputKind, random_inputs
from hil.units import CodeScale

__all__ = ["emulated_board", "serial_rate"]

BITS_PER_BYTE = 10
"""On a serial line: a start bit, eight of data, a stop bit."""
BATCH = 128
_END_S = 20.0


def serial_rate(address: str, *, baud: int, batches: int, seed: int) -> SerialRate:
    """Multiply `batches` batches of 128 vectors, sent ahead of their results, at `baud`.

    Raises:
        RequestError: The address or the rate is wrong.
        CoreUnavailableError: The board did not come up.
    """
    with emulated_board(address, baud) as serial, open_chip(serial) as chip:
        core = chip.cores[0]
        if not isinstance(core, BoardCore):
            raise RequestError(f"{serial} is no board")
        info, rng = core.info, np.random.default_rng(seed)
        requests = [
            MvmRequest(
                input_codes=random_inputs(InputKind.UNIFORM, BATCH, info.rows, info.input, rng)
            )
            for _ in range(batches)
        ]
        core.mvm(MvmRequest(input_codes=requests[0].input_codes[:1]))  # the board is warm
        statistics = core.board.statistics
        sent, received = statistics.sent_bytes, statistics.received_bytes
        began = time.perf_counter()
        core.mvm_many(requests)
        seconds = time.perf_counter() - began
        sent, received = statistics.sent_bytes - sent, statistics.received_bytes - received
        codes_in = _packed_bytes(info.input, info.rows)
        codes_out = _packed_bytes(info.output_codes, info.cols)
    vectors = batches * BATCH
    busier, codes = max((sent, codes_in), (received, codes_out))
    return SerialRate(
        address=address,
        baud=baud,
        batch=BATCH,
        vectors=vectors,
        seconds=seconds,
        sent_bytes=sent,
        received_bytes=received,
        share=busier / seconds / (baud / BITS_PER_BYTE),
        payload_share=vectors * codes / busier,
    )


def _packed_bytes(scale: CodeScale, count: int) -> int:
    return len(pack_codes(np.zeros(count, scale.dtype), scale)[1])


@contextmanager
def emulated_board(address: str, baud: int) -> Iterator[str]:
    """Serve a chip by `hil emulate` in a process of its own; yields the address to open.

    Raises:
        CoreUnavailableError: It did not come up; the sentence is its own.
    """
    command = (sys.executable, "-m", "hil", "emulate", "--core", address)
    with subprocess.Popen(
        (*command, "--pty", "--baud", str(baud)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            line = process.stdout.readline()
            if not line:
                _, why = process.communicate(timeout=_END_S)
                raise CoreUnavailableError(f"the emulated board did not come up: {why.strip()}")
            yield json.loads(line)["addresses"][0]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
