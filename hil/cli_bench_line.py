"""Commands bench link, bench faults, bench fuzz: a board's line. The drivers measure it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hil.cli_bench_close import close_run, end_bench
from hil.cli_options import OutOption, SeedOption, run_folder
from hil.cli_output import make_progress, say, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.bench.line import BoardFaults, FaultBench, FuzzBench, LinkBench

__all__ = ["faults", "fuzz", "link"]

_MICRO = 1e6


def link(
    *,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=3600.0, help="Least time of each measurement.")
    ] = 2.0,
    baud: Annotated[
        int, typer.Option(min=9600, max=100_000_000, help="Rate of the pseudo-terminal.")
    ] = 3_000_000,
    serial: Annotated[
        bool, typer.Option("--serial/--no-serial", help="Measure a board at a pseudo-terminal.")
    ] = True,
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Chip of the board there.")
    ] = "sim:hermes?seed=1",
    serial_batches: Annotated[
        int, typer.Option(min=1, max=10_000, help="Batches of 128 vectors that cross there.")
    ] = 64,
    goal_mvm: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="RATE", help="Exit with 1 below so many single-vector MVMs per second."
        ),
    ] = None,
    goal_mb: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="RATE", help="Exit with 1 below so many MB/s of batches."),
    ] = None,
    goal_share: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Exit with 1 below this share of the pseudo-terminal's rate.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the protocol alone between two processes, and a board at a throttled serial line.

    Vectors have 256 codes of 8 bits, in and out; every reply is compared with what the core must
    answer. MB/s are of one direction, the other is as busy. Example:

    hil bench link --goal-mvm 15000 --goal-mb 60 --goal-share 0.95
    """
    measure = cast("Callable[..., LinkBench]", import_module("drivers.bench.link").bench_link)
    with run_folder("bench-link", out, seed=seed, address=core) as folder:
        with make_progress() as progress:
            found = measure(
                seconds=seconds,
                baud=baud if serial else None,
                serial_address=core,
                serial_batches=serial_batches,
                seed=seed,
                progress=progress,
            )
        share = found.serial.share if found.serial is not None else 0.0
        met = (
            found.windowed_mvm_per_s >= (goal_mvm or 0.0)
            and found.batched_mb_per_s >= (goal_mb or 0.0)
            and share >= (goal_share or 0.0)
        )
        results = close_run(folder, found, met)
    _show_link(found)
    end_bench("bench link", folder, results, met)


def _show_link(found: LinkBench) -> None:
    table(
        f"Protocol alone, COBS {found.cobs}, on {found.machine.processor}",
        ("batch", "window", "requests/s", "best", "MB/s each way", "CPU host", "CPU device"),
        [
            (
                str(r.batch),
                str(r.window),
                f"{r.requests_per_s:,.0f}",
                f"{r.requests_per_s_best:,.0f}",
                f"{r.sent_mb_per_s:.1f}",
                _micro(r.host_cpu_s),
                _micro(r.device_cpu_s),
            )
            for r in found.rates
        ],
    )
    table(
        "One request, lock-step",
        ("batch", "encode", "wire", "decode", "execute", "encode", "decode", "round trip"),
        [
            (
                str(p.batch),
                *map(_micro, (p.host_encode_s, p.wire_s, p.device_decode_s, p.execute_s)),
                *map(_micro, (p.device_encode_s, p.host_decode_s, p.round_trip_s)),
            )
            for p in found.parts
        ],
    )
    shares = "; ".join(f"{e.batch}: {e.request:.1%} and {e.reply:.1%}" for e in found.efficiency)
    say(f"codes over bytes on the line, request and reply, by batch: {shares}")
    serial = found.serial
    if serial is not None:
        say(
            f"pseudo-terminal at {serial.baud:,} baud: {serial.vectors:,} vectors in "
            f"{serial.seconds:.1f} s, {serial.share:.1%} of the rate, "
            f"{serial.payload_share:.1%} of it codes"
        )


def _micro(seconds: float) -> str:
    return f"{_MICRO * seconds:,.0f} µs"


def faults(
    *,
    frames: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, help="Frames to cross, both directions.")
    ] = 1_000_000,
    rate: Annotated[
        float,
        typer.Option(min=0.0, max=0.2, help="Share of frames that each kind of fault strikes."),
    ] = 0.01,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Cross a line that loses, spoils, repeats, splits, delays and reorders frames.

    Exits with 1 if a reply is wrong, a pulse is applied twice, or a request has no outcome. The
    last part is the whole driver against a board that also loses power mid-program. Example:

    hil bench faults --frames 100000 --rate 0.05 --seed 3
    """
    measure = cast("Callable[..., FaultBench]", import_module("drivers.bench.faults").bench_faults)
    with run_folder("bench-faults", out, seed=seed) as folder:
        with make_progress() as progress:
            found = measure(frames=frames, rate=rate, seed=seed, progress=progress)
        results = close_run(folder, found, found.lawful)
    _show_faults(found.parts)
    for part in found.parts:
        if part.first_violation:
            say(f"{part.part}: {part.first_violation}")
    end_bench("bench faults", folder, results, found.lawful)


def _show_faults(parts: tuple[BoardFaults, ...]) -> None:
    names = ("lost", "flipped", "duplicated", "split", "delayed", "reordered")
    rows = [("frames", *(f"{part.faults.frames:,}" for part in parts))]
    rows += [(name, *(f"{getattr(part.faults, name):,}" for part in parts)) for name in names]
    counts = {
        "requests": "requests",
        "of them pulses": "mutations",
        "answered": "answered",
        "effect unknown, settled": "unknown",
        "resets mid-program": "resets",
        "asked again": "repeats",
        "frames refused": "dropped",
        "wrong replies": "wrong",
        "pulses applied twice": "twice",
        "without an outcome": "unended",
    }
    rows += [(shown, *(f"{getattr(p, name):,}" for p in parts)) for shown, name in counts.items()]
    table("Faults of the line", ("", *(part.part for part in parts)), rows)


def fuzz(
    *,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=1e6, help="Time for all decoders together.")
    ] = 600.0,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Feed the decoders of both planes bytes from anywhere; exit with 1 if one breaks a law.

    A law is broken by an exception that is not documented, by a message that does not come back as
    it went, and by memory above its bound. A finding names the seed that repeats it. Example:

    hil bench fuzz --seconds 60
    """
    measure = cast("Callable[..., FuzzBench]", import_module("drivers.bench.fuzz").bench_fuzz)
    with run_folder("bench-fuzz", out, seed=seed) as folder:
        with make_progress() as progress:
            found = measure(seconds=seconds, seed=seed, progress=progress)
        results = close_run(folder, found, found.lawful)
    table(
        f"Fuzzing; memory rose by {found.resident_bytes / 1e6:.1f} MB",
        ("decoder", "time", "inputs", "bytes", "messages", "findings", "most bytes held"),
        [
            (
                t.target,
                f"{t.seconds:.0f} s",
                f"{t.cases:,}",
                f"{t.bytes:,}",
                f"{t.found:,}",
                str(t.failures),
                f"{t.peak_bytes:,}",
            )
            for t in found.targets
        ],
    )
    for target in found.targets:
        for failure in target.first_failures:
            say(f"{target.target}: {failure}")
    end_bench("bench fuzz", folder, results, found.lawful)
