"""The group `hil bench`: mvm, inference, program, loopback, journal; others are beside."""

from __future__ import annotations

from typing import Annotated

import typer

from hil.cli_bench_circuit import circuit
from hil.cli_bench_close import close_run, end_bench
from hil.cli_bench_line import faults, fuzz, link
from hil.cli_bench_nets import nets
from hil.cli_chip import MethodName
from hil.cli_consent import refuse_silicon
from hil.cli_options import OutOption, SeedOption, run_folder
from hil.cli_output import duration_text, make_progress, say, table

__all__ = ["bench"]

GOAL_BATCH = 128
"""Smallest batch that the goal of `bench mvm` is about."""

bench = typer.Typer(
    help="Time MVMs, inference and programming against a yardstick measured in the same run.",
    no_args_is_help=True,
)
for _command in (link, faults, fuzz, circuit, nets):
    bench.command()(_command)


@bench.command()
def mvm(
    *,
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Address of the chip.")
    ] = "sim:pcm90?seed=1",
    batch: Annotated[
        list[int] | None, typer.Option(help="Batch size, repeatable.  \\[default: 1, 128, 1024]")
    ] = None,
    repeats: Annotated[int, typer.Option(min=30, max=100_000, help="Timed repeats.")] = 60,
    goal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="RATIO",
            help="Exit with 1 if a batch of 128 or more takes over this many plain products.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time a full non-ideal MVM as a ratio to a plain torch product of the same size.

    Converters, read noise drawn anew per vector, offsets, output noise and wires are all in it.
    Each is timed on one thread and on torch's default number. Example:

    hil bench mvm --batch 128 --repeats 30
    """
    from hil.bench import bench_mvm  # noqa: PLC0415

    sizes = {"batches": tuple(batch)} if batch else {}
    refuse_silicon(core, "hil bench mvm")
    with run_folder("bench-mvm", out, seed=seed, address=core) as folder:
        with make_progress() as progress:
            found = bench_mvm(core, repeats=repeats, seed=seed, progress=progress, **sizes)
        large = [t.ratio for t in found.timings if t.batch >= GOAL_BATCH]
        met = goal is None or max(large, default=0.0) <= goal
        results = close_run(folder, found, met)
    table(
        f"{found.rows} x {found.cols} on {found.model}, {found.machine.processor}",
        ("threads", "batch", "MVM", "plain product", "ratio", "quartiles"),
        [
            (
                str(t.threads),
                str(t.batch),
                duration_text(t.core_s),
                duration_text(t.matmul_s),
                f"{t.ratio:.2f}",
                f"{t.ratio_quartiles[0]:.2f} ... {t.ratio_quartiles[1]:.2f}",
            )
            for t in found.timings
        ],
    )
    end_bench("bench mvm", folder, results, met)


@bench.command()
def inference(
    *,
    network: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Bundled checkpoint, .safetensors file, or network name (random weights).",
        ),
    ] = "resnet9-cifar10",
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Address of the chip.")
    ] = "sim:hermes?cores=2&seed=7",
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Samples per run.")] = 256,
    repeats: Annotated[int, typer.Option(min=3, max=10_000, help="Timed repeats.")] = 5,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of torch.")] = 1,
    method: Annotated[
        MethodName, typer.Option(help="How the layers are written.")
    ] = MethodName.OPEN_LOOP,
    goal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="RATIO",
            help="Exit with 1 if a run takes over this many times the plain network.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time layer-serial inference as a ratio to the plain torch network, by layer and by part.

    All layers are resident, every effect of the address is on. Inputs are noise. Example:

    hil bench inference --network resnet9-digits --batch 64 --repeats 3
    """
    from hil.bench import bench_inference  # noqa: PLC0415

    refuse_silicon(core, "hil bench inference")
    with run_folder("bench-inference", out, seed=seed, address=core) as folder:
        with make_progress() as progress:
            found = bench_inference(
                core,
                network=network,
                batch=batch,
                repeats=repeats,
                threads=threads,
                method=method.value,
                seed=seed,
                progress=progress,
            )
        met = goal is None or found.ratio <= goal
        results = close_run(folder, found, met)
    table(
        f"{found.network}, batch {found.batch}, on {found.model}, {found.machine.processor}",
        ("layer", "size", "blocks", "MVMs/sample", "time", "share", "torch", "ratio"),
        [
            (
                layer.name,
                f"{layer.rows} x {layer.cols}",
                str(layer.blocks),
                f"{layer.mvms_per_sample:g}",
                duration_text(layer.layer_s),
                f"{layer.share:.0%}",
                duration_text(layer.torch_s),
                f"{layer.layer_s / layer.torch_s:.1f}",
            )
            for layer in found.layers
        ],
    )
    say("; ".join(f"{part} {share:.0%}" for part, share in found.shares.items()))
    say(
        f"{found.samples_per_s:.0f} samples/s; {duration_text(found.run_s)} a batch, plain network "
        f"{duration_text(found.torch_s)}: ratio {found.ratio:.2f} (quartiles "
        f"{found.ratio_quartiles[0]:.2f} ... {found.ratio_quartiles[1]:.2f}; in processor time "
        f"{found.cpu_ratio:.2f}); peak memory "
        f"{found.peak_bytes / 1e6:.0f} MB, plain network {found.torch_peak_bytes / 1e6:.0f} MB"
    )
    end_bench("bench inference", folder, results, met)


@bench.command()
def program(
    *,
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Address of the chip.")
    ] = "sim:hermes?devices=1&seed=1",
    method: Annotated[MethodName, typer.Option(help="Method that iterates.")] = MethodName.GDP,
    goal: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Exit with 1 if the method's own iteration limit takes more CPU time.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time programming one whole core with Gaussian weights, and try half and twice the iterations.

    Exits with 1 if more iterations made the error larger. Example:

    hil bench program --core "sim:hermes?devices=2&seed=1" --goal 10
    """
    from hil.bench import bench_program  # noqa: PLC0415

    refuse_silicon(core, "hil bench program")
    with run_folder("bench-program", out, seed=seed, address=core) as folder:
        with make_progress() as progress:
            found = bench_program(core, method=method.value, seed=seed, progress=progress)
        met = not found.grows and (goal is None or found.at_default().cpu_s <= goal)
        results = close_run(folder, found, met)
    table(
        f"{found.rows} x {found.cols} on {found.model}, {found.devices_per_polarity} device(s) per "
        f"polarity, by {found.method}",
        ("at most", "iterations", "CPU", "chip", "pulses/device", "MVM error after affine fit"),
        [
            (
                str(r.max_iterations),
                str(r.iterations),
                duration_text(r.cpu_s),
                duration_text(r.chip_s),
                f"{r.pulses_per_device:.2f}",
                f"{r.mvm_error_affine:.2%}",
            )
            for r in found.runs
        ],
    )
    end_bench("bench program", folder, results, met)


@bench.command()
def loopback(
    *,
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Address of a simulated chip.")
    ] = "sim:hermes?seed=1&rows=128&cols=128",
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Do the same work directly and through the board's bytes; exit with 1 if a code differs.

    Example: hil bench loopback --core "sim:hermes?rows=64&cols=64"
    """
    from hil.bench import bench_loopback  # noqa: PLC0415

    with run_folder("bench-loopback", out, seed=seed, address=core) as folder:
        with make_progress() as progress:
            found = bench_loopback(core, seed=seed, progress=progress)
        results = close_run(folder, found, found.bit_equal)
    difference = "all codes equal" if found.bit_equal else f"differ at {found.first_difference}"
    say(
        f"{found.verbs} verbs, {difference}; {duration_text(found.direct_s)} directly, "
        f"{duration_text(found.encoded_s)} encoded ({found.ratio:.2f} times)"
    )
    end_bench("bench loopback", folder, results, found.bit_equal)


@bench.command()
def journal(
    *,
    core: Annotated[
        str, typer.Option("--core", metavar="ADDRESS", help="Address of a simulated chip.")
    ] = "sim:hermes?devices=1&seed=1&rows=128&cols=128",
    method: Annotated[MethodName, typer.Option(help="Programming method.")] = MethodName.GDP,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, help="Runs of each kind; the fastest counts.")
    ] = 3,
    goal: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            metavar="RATIO",
            help="Exit with 1 if a run with its results kept takes over this many times as long.",
        ),
    ] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Time programming with and without the write-ahead journal, and say what it takes on disk.

    The journal is written into the run folder, so what is timed is the disk of --out. Example:

    hil bench journal --method verify --repeats 5
    """
    from hil.bench import bench_journal  # noqa: PLC0415

    refuse_silicon(core, "hil bench journal")
    with run_folder("bench-journal", out, seed=seed, address=core) as folder:
        with make_progress() as progress:
            found = bench_journal(
                core,
                method=method.value,
                repeats=repeats,
                seed=seed,
                folder=folder.path,
                progress=progress,
            )
        met = goal is None or found.ratio(found.runs[-1]) <= goal
        results = close_run(folder, found, met)
    table(
        f"{found.runs[0].requests} pulse requests with {found.runs[0].pulses:,} pulses, by "
        f"{found.method}",
        ("written", "wall", "ratio", "lines", "bytes of lines", "of pulses", "of results"),
        [
            (
                r.journalling.value,
                duration_text(r.wall_s),
                f"{found.ratio(r):.3f}",
                str(r.lines),
                f"{r.line_bytes:,}",
                f"{r.pulse_bytes:,}",
                f"{r.result_bytes:,}",
            )
            for r in found.runs
        ],
    )
    end_bench("bench journal", folder, results, met)
