"""A person's own file to one sample, as a data set stores its own. Reads no data set.

Pictures are decoded by Pillow, recordings as `hil.training.data.audio` says.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hil.errors import RequestError
from hil.training.data.card import DatasetCard, dataset_card

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["is_dark_on_light", "read_sample"]

MAX_BYTES = 64 * 2**20
"""Largest picture file that is read."""
MAX_PIXELS = 50_000_000
"""Most pixels that a picture is unpacked to; above those of common cameras."""
FORMATS = ("PNG", "JPEG")
LEVELS = 255
DEEP_LEVELS = 65_535
"""Highest level of 16-bit grey pictures."""


def read_sample(dataset: str, path: Path, *, invert: bool = False) -> Tensor:
    """Read a PNG, JPEG, WAV or FLAC file as one sample of this data set, without a batch axis.

    A picture is turned upright, made grey or coloured as the set is, and scaled whole to the
    set's size (Lanczos; the ratio of its sides is not kept). `Split.prepare` and
    `preparation(dataset)` make a network input of it.

    Args:
        dataset: Name of the set; none of its data is needed.
        path: The file.
        invert: Exchange light and dark. The sets of digits and clothing show light strokes on
            black; a scan of ink on paper needs it, and nothing is inverted unasked.

    Returns:
        The shape and dtype of the set's card, for example (3, 32, 32) uint8.

    Raises:
        RequestError: Unknown set; no such file, another format, damaged, too large, animated or
            partly transparent; `invert` for a recording.
    """
    card = dataset_card(dataset)
    if card.kind == "picture":
        return _read_picture(card, path, invert=invert)
    if invert:
        raise RequestError(f"invert is for pictures; dataset {dataset!r} holds recordings")
    from hil.training.data.audio import read_wav  # noqa: PLC0415 - pictures need no sound library

    return torch.from_numpy(read_wav(path))


def is_dark_on_light(sample: Tensor) -> bool:
    """Say whether the border of a grey picture (1, height, width) is more light than dark."""
    plane = sample[0].to(torch.float32)
    border = torch.cat([plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]])
    full_scale = LEVELS if sample.dtype == torch.uint8 else 1.0
    return sample.shape[0] == 1 and float(border.mean()) > full_scale / 2


def _read_picture(card: DatasetCard, path: Path, *, invert: bool) -> Tensor:
    from PIL import Image, ImageOps  # noqa: PLC0415 - 50 ms of import, for pictures only

    channels, height, width = card.sample_shape
    _check_file(path)
    with _opened(path) as image:
        _check_picture(image, path)
        upright = ImageOps.exif_transpose(image)
        plain = _without_alpha(upright, path)
        coloured = _eight_bit(plain).convert("L" if channels == 1 else "RGB")
        small = coloured.resize((width, height), Image.Resampling.LANCZOS)
        levels: npt.NDArray[np.uint8] = np.asarray(small).reshape(height, width, channels)
    if invert:
        levels = LEVELS - levels
    sample = torch.from_numpy(levels.transpose(2, 0, 1).copy())
    return sample if card.sample_dtype == "uint8" else sample.to(torch.float32) / LEVELS


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise RequestError(
            f"{path} cannot be read ({error.strerror}); give a PNG or JPEG file", path=str(path)
        ) from error
    if size > MAX_BYTES:
        raise RequestError(
            f"{path} has {size} bytes; a picture of at most {MAX_BYTES} is read", path=str(path)
        )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever its decoder meets on the way becomes one sentence."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of size and odd metadata
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except RequestError:
        raise
    except UnidentifiedImageError as error:
        raise RequestError(
            f"{path} is no PNG or JPEG picture; convert it to one", path=str(path)
        ) from error
    # Pillow's decoders answer damaged files with any of these.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise RequestError(
            f"{path} is damaged or cannot be read ({error}); save the picture again",
            path=str(path),
        ) from error


def _check_picture(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RequestError(
            f"{path} has {width} x {height} pixels; at most {MAX_PIXELS} are read: scale it down",
            path=str(path),
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise RequestError(
            f"{path} is animated ({frames} frames); save one of them as a picture", path=str(path)
        )


def _without_alpha(image: Image.Image, path: Path) -> Image.Image:
    """Drop an alpha channel that hides nothing; what lies behind a picture is not ours to guess."""
    if not image.has_transparency_data:
        return image
    full = image.convert("RGBA")
    lowest, _ = full.getchannel("A").getextrema()
    if lowest != LEVELS:
        raise RequestError(
            f"{path} is partly transparent; lay it on the background that is meant, and save it "
            "without alpha channel",
            path=str(path),
        )
    return full.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring 16-bit grey levels (modes I;16 and I) to 8 bits, rounded; others stay as they are."""
    from PIL import Image as PilImage  # noqa: PLC0415

    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.float64) * (LEVELS / DEEP_LEVELS)
    return PilImage.fromarray(np.clip(np.rint(levels), 0, LEVELS).astype(np.uint8))
