"""Command bench nets: the exact static net against other programs. The simulator measures it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hil.cli_bench_close import close_run, end_bench
from hil.cli_options import OutOption, SeedOption, run_folder
from hil.cli_output import duration_text, make_progress, say, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.bench.nets import NetsBench, NetTiming

__all__ = ["nets"]

_SIZES = (64, 128, 256)
_AGREEMENT = 1e-9
"""Largest disagreement with a peer, of the largest output: all of them claim to be exact."""


def nets(
    *,
    size: Annotated[
        list[int] | None,
        typer.Option(min=1, max=4096, help="Rows and cols, repeatable.  \\[default: 64, 128, 256]"),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=1_000_000, help="Vectors of our batch.")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Timed repeats.")] = 5,
    ngspice_size: Annotated[
        list[int] | None,
        typer.Option(
            min=0, max=4096, help="Sizes for ngspice, repeatable; 0 for none.  \\[default: 64]"
        ),
    ] = None,
    peer_python: Annotated[
        str | None,
        typer.Option("--peer-python", metavar="PATH", help="Python that has badcrossbar."),
    ] = None,
    goal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="RATIO",
            help="Exit with 1 if badcrossbar takes less than this many times as long per vector.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the exact static net: first use and per vector, beside scipy, badcrossbar and ngspice.

    Exits with 1 if the outputs of any of them are further than 1e-9 of the largest apart. Example:

    hil bench nets --size 64 --repeats 3 --ngspice-size 0
    """
    measure = cast("Callable[..., NetsBench]", import_module("sim_backend.bench_nets").bench_nets)
    with run_folder("bench-nets", out, seed=seed) as folder:
        with make_progress() as progress:
            found = measure(
                sizes=tuple(size or _SIZES),
                batch=batch,
                repeats=repeats,
                ngspice_sizes=tuple(ngspice_size or (64,)),
                peer_python=peer_python,
                seed=seed,
                progress=progress,
            )
        least = found.least_ratio("badcrossbar")
        met = found.worst_disagreement <= _AGREEMENT and (
            goal is None or (least is not None and least >= goal)
        )
        results = close_run(folder, found, met)
    table(
        f"Static nets, one thread of {found.machine.processor}; ratios are to ours",
        ("net", "by", "first use", "ratio", "per vector", "ratio", "disagreement"),
        [row for timing in found.sizes for row in _rows(timing)],
    )
    for why in found.absent:
        say(f"not measured: {why}")
    end_bench("bench nets", folder, results, met)


def _rows(timing: NetTiming) -> list[tuple[str, ...]]:
    net = f"{timing.rows} x {timing.cols}"
    ours = (net, "ours", duration_text(timing.first_s), "1", duration_text(timing.per_vector_s))
    rows: list[tuple[str, ...]] = [(*ours, "1", "")]
    for peer in timing.peers:
        first = ("", "")
        if peer.first_s is not None and peer.first_ratio is not None:
            first = duration_text(peer.first_s), f"{peer.first_ratio:.1f}"
        vector = duration_text(peer.per_vector_s), f"{peer.per_vector_ratio:,.0f}"
        rows.append((net, peer.name, *first, *vector, f"{peer.disagreement:.1e}"))
    return rows
