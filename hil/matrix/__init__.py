"""Weight matrices on a chip: written, calibrated, multiplied, kept up with drift. Numpy only."""

from hil.matrix.block import ProgrammedBlock
from hil.matrix.program import MatrixTask, program_matrices, program_matrix
from hil.matrix.programmed import DriftMode, MatrixOutput, ProgrammedMatrix
from hil.matrix.report import BlockReport, ProgrammingReport

__all__ = [
    "BlockReport",
    "DriftMode",
    "MatrixOutput",
    "MatrixTask",
    "ProgrammedBlock",
    "ProgrammedMatrix",
    "ProgrammingReport",
    "program_matrices",
    "program_matrix",
]
