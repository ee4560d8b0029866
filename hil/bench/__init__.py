"""Benchmarks of the simulator and of programming, against a yardstick measured in the same run."""

from hil.bench.inference import InferenceBench, LayerTiming, bench_inference
from hil.bench.journal import JournalBench, Journalling, JournalRun, bench_journal
from hil.bench.loopback import LoopbackBench, bench_loopback
from hil.bench.machine import Machine
from hil.bench.mvm import MvmBench, MvmTiming, bench_mvm
from hil.bench.program import ProgramBench, ProgramRun, bench_program

__all__ = [
    "InferenceBench",
    "JournalBench",
    "JournalRun",
    "Journalling",
    "LayerTiming",
    "LoopbackBench",
    "Machine",
    "MvmBench",
    "MvmTiming",
    "ProgramBench",
    "ProgramRun",
    "bench_inference",
    "bench_journal",
    "bench_loopback",
    "bench_mvm",
    "bench_program",
]
