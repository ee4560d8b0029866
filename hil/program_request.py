"""What `hil program` was asked for, kept so that the run can be taken up. Data only."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from hil.errors import RecordError
from hil.run_folder import write_atomically

__all__ = ["ProgramRequest", "has_request", "keep_request", "load_request"]

REQUEST_FILE = "request.json"
WEIGHTS_FILE = "weights.npy"
NEXT_STEP = "run hil program again"


class ProgramRequest(BaseModel):
    """How a matrix is to be programmed.

    Attributes:
        method: Name of the programming method.
        goal: Largest MVM error after the affine fit; None is any.
        weights_sha256: Digest of the weights beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    method: str
    goal: float | None
    weights_sha256: str


def has_request(run: Path) -> bool:
    """Say whether a run folder is one of `hil program`."""
    return (run / REQUEST_FILE).exists()


def keep_request(
    run: Path, weights: npt.NDArray[np.float64], *, method: str, goal: float | None
) -> ProgramRequest:
    """Write weights (rows, cols) and request into a run folder."""
    buffer = io.BytesIO()
    np.save(buffer, weights, allow_pickle=False)
    body = buffer.getvalue()
    request = ProgramRequest(
        method=method, goal=goal, weights_sha256=hashlib.sha256(body).hexdigest()
    )
    write_atomically(run / WEIGHTS_FILE, body)
    write_atomically(run / REQUEST_FILE, (request.model_dump_json(indent=2) + "\n").encode())
    return request


def load_request(run: Path) -> tuple[ProgramRequest, npt.NDArray[np.float64]]:
    """Read request and weights back.

    Raises:
        RecordError: One is missing, damaged or does not belong to the other.
    """
    file = run / REQUEST_FILE
    try:
        request = ProgramRequest.model_validate_json(file.read_bytes())
        body = (run / WEIGHTS_FILE).read_bytes()
    except (OSError, ValidationError) as error:
        raise RecordError(f"{file} cannot be read ({error}); {NEXT_STEP}") from error
    if hashlib.sha256(body).hexdigest() != request.weights_sha256:
        raise RecordError(f"{run / WEIGHTS_FILE} was changed since (SHA-256); {NEXT_STEP}")
    weights: npt.NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
    return request, weights
