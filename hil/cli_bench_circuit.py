"""Command bench circuit: the solvers of the tile circuit. The simulator measures them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hil.cli_bench_close import close_run, end_bench
from hil.cli_options import OutOption, SeedOption, run_folder
from hil.cli_output import duration_text, make_progress, say, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from hil.bench.circuit import CircuitBench

__all__ = ["circuit"]

_PLOT = "scaling.png"


def circuit(
    *,
    rows: Annotated[int, typer.Option(min=1, max=4096, help="Rows of the tile.")] = 512,
    cols: Annotated[int, typer.Option(min=1, max=4096, help="Cols of the tile.")] = 512,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Vectors of our batch.")] = 1024,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Timed repeats.")] = 5,
    errors: Annotated[
        bool, typer.Option("--errors/--no-errors", help="Rapid against exact, over patterns.")
    ] = True,
    scaling: Annotated[
        bool, typer.Option("--scaling/--no-scaling", help="Time against each size, plotted.")
    ] = True,
    compute: Annotated[str, typer.Option(metavar="cpu|cuda", help="What computes.")] = "cpu",
    peer_python: Annotated[
        str | None,
        typer.Option("--peer-python", metavar="PATH", help="Python that has aihwkit."),
    ] = None,
    peer_vectors: Annotated[
        int, typer.Option(min=1, max=64, help="Vectors of its batch, 0.1 GB each.")
    ] = 4,
    goal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="RATIO",
            help="Exit with 1 unless aihwkit's tile takes this many times as long per vector.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time the solvers of the tile circuit beside a plain product and aihwkit's time-stepped tile.

    Exits with 1 if aihwkit's tile is as close to the exact solution as any of ours. Example:

    hil bench circuit --rows 64 --cols 64 --batch 64 --no-errors --no-scaling
    """
    measure = cast(
        "Callable[..., CircuitBench]", import_module("sim_backend.bench_circuit").bench_circuit
    )
    with run_folder("bench-circuit", out, seed=seed) as folder:
        with make_progress() as progress:
            found = measure(
                rows=rows,
                cols=cols,
                batch=batch,
                repeats=repeats,
                peer_python=peer_python,
                peer_vectors=peer_vectors,
                with_errors=errors,
                with_scaling=scaling,
                compute=compute,
                plot=folder.path / _PLOT,
                seed=seed,
                progress=progress,
            )
        least = found.least_peer_ratio
        met = found.closer_than_peers and (goal is None or (least is not None and least >= goal))
        results = close_run(folder, found, met)
    _show(found)
    end_bench("bench circuit", folder, results, met)


def _show(found: CircuitBench) -> None:
    table(
        f"Tile circuit of {found.rows} x {found.cols}, {found.compute}, one thread of "
        f"{found.machine.processor}; plain product {duration_text(found.matmul_per_vector_s)} "
        "per vector",
        ("solver", "batch", "first use", "per vector", "x product", "memory", "error"),
        [
            (
                f"{t.solver}, {t.idle}",
                str(t.batch),
                duration_text(t.prepare_s),
                duration_text(t.per_vector_s),
                f"{t.matmul_ratio:.1f}",
                "" if t.peak_bytes is None else f"{t.peak_bytes / 1e6:.0f} MB",
                f"{t.worst_error:.1e}",
            )
            for t in found.timings
        ]
        + [
            (
                p.name,
                str(p.vectors),
                "",
                duration_text(p.per_vector_s),
                f"{p.per_vector_s / found.matmul_per_vector_s:,.0f}",
                f"{p.peak_bytes / 1e6:.0f} MB",
                f"{p.worst_error:.1e}",
            )
            for p in found.peers
        ],
    )
    for peer in found.peers:
        said = "; ".join(f"{name} {ratio:,.0f} times" for name, ratio in peer.ratios.items())
        say(f"faster per vector than {peer.name}: {said}")
    for why in found.absent:
        say(f"not measured: {why}")
    if found.errors:
        table(
            "Rapid against exact, idle devices disconnected, of the largest charge of each case",
            ("tile", "median", "worst", "worst of all patterns", "where"),
            [
                (
                    f"{e.rows} rows, {e.g_max_siemens * 1e6:g} µS, {e.ohm_per_cell:g} ohm",
                    f"{e.ordinary_median:.3%}",
                    f"{e.ordinary_worst:.3%}",
                    f"{e.worst:.3%}",
                    f"{e.worst_case}; wires take {e.worst_drop:.0%}",
                )
                for e in found.errors
            ],
        )
    if found.scaling:
        table(
            "Time of a call goes as size to the power of",
            ("solver", "axis", "exponent", "sizes"),
            [
                (f"{s.solver}, {s.idle}", s.axis, f"{s.exponent:.2f}", str(s.sizes))
                for s in found.scaling
            ],
        )
