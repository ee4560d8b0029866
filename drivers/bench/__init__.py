"""Measurements of the board's line: throughput, faults, fuzzing. Documents are `hil.bench.line`."""
