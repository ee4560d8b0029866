"""Weight matrices on a chip: written, calibrated, multiplied, kept up with drift. Numpy only."""

from hil.matrix.block import ProgrammedBlock
from hil.matrix.converters import calibrate_converters, untrimmed
from hil.matrix.correction import Correction
from hil.matrix.program import MatrixTask, program_matrices, program_matrix, settle
from hil.matrix.programmed import DriftMode, MatrixOutput, ProgrammedMatrix
from hil.matrix.report import BlockReport, ProgrammingReport

__all__ = [
    "BlockReport",
    "Correction",
    "DriftMode",
    "MatrixOutput",
    "MatrixTask",
    "ProgrammedBlock",
    "ProgrammedMatrix",
    "ProgrammingReport",
    "calibrate_converters",
    "program_matrices",
    "program_matrix",
    "settle",
    "untrimmed",
]
