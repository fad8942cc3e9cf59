"""Load MNIST through `datasets`, and keep the decoded pixels."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from initscope import extras
from initscope.data.dataset import Dataset
from initscope.data.folders import (
    add_files,
    cache_folder,
    data_folder,
    no_progress_bars,
    summarize_error,
)
from initscope.errors import UsageError, shown
from initscope.files import atomic_write

MNIST_HUB_NAME = "ylecun/mnist"
CACHE_FORMAT = "1"

__all__ = ["load_mnist"]


def load_mnist(source: str | Path | None = None) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test images of 28x28 pixels, 10 classes.

    Parameters
    ----------
    source
        A name on the Hugging Face hub, or a local folder of the same layout (parquet files of a
        train and a test split, with columns ``image``, PNG, and ``label``). By default the
        folder ``mnist`` in the folder named by the environment variable ``INITSCOPE_DATA``, if
        it is there, else ``ylecun/mnist`` on the hub.

    The rows keep their order. All rows found in the source are loaded.

    The decoded pixels are kept in a cache, in the folder named by the environment variable
    ``INITSCOPE_CACHE`` or ``~/.cache/initscope``, under a fingerprint of the source: the content
    of the files for a folder, the name for the hub. A cache that cannot be read is rebuilt; one
    that cannot be written is done without, with one warning.

    Raises
    ------
    UsageError
        The source is missing, empty, corrupt, of another layout, or cannot be reached.
    """
    source = _mnist_source(source)
    cache = _cache_path(_fingerprint(source))
    pixels = _read_cache(cache)
    if pixels is None:
        pixels = _read_mnist(source)
        _write_cache(cache, pixels, str(source))

    # The 256 values are counted, so that mean and std are exact for any number of pixels.
    counts = torch.bincount(pixels["train_images"].flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64)
    mean = (counts @ values) / counts.sum()
    std = ((counts @ (values - mean).square()) / counts.sum()).sqrt()
    if std == 0:
        raise UsageError(f"every pixel of the training split of {source} has the same value.")

    def standardize(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).float().sub_(mean.item()).div_(std.item())

    return Dataset(
        name="mnist",
        train_inputs=standardize(pixels["train_images"]),
        train_labels=pixels["train_labels"].long(),
        test_inputs=standardize(pixels["test_images"]),
        test_labels=pixels["test_labels"].long(),
        classes=tuple("0123456789"),
        input_mean=mean / 255,
        input_std=std / 255,
    )


def _mnist_source(source: str | Path | None) -> str | Path:
    """Return the path of a local folder, or a name on the hub."""
    if source is not None:
        if not isinstance(source, str | Path):
            raise UsageError(f"the source of MNIST must be text or a Path, not {shown(source)}.")
        if not str(source):
            raise UsageError("the source of MNIST is empty: give a hub name or a folder.")
        if Path(source).is_dir():
            return Path(source)
        parts = str(source).split("/")
        if isinstance(source, Path) or len(parts) > 2 or not all(parts) or parts[0] in (".", ".."):
            raise UsageError(
                f"the folder {str(source)!r}, given as the source of MNIST, is not there."
            )
        return source
    data = data_folder()
    if data is not None and (data / "mnist").is_dir():
        return data / "mnist"
    return MNIST_HUB_NAME


def _read_mnist(source: str | Path) -> dict[str, torch.Tensor]:
    """Decode the images of both splits: uint8, ``(n, 28, 28)``, and labels, uint8, ``(n,)``."""
    # A folder is read through a temporary cache: it is decoded once, then our own cache serves.
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_progress_bars())
        if isinstance(source, Path):
            scratch = tempfile.TemporaryDirectory(prefix="initscope-", ignore_cleanup_errors=True)
            splits = _load_dataset(source, cache_dir=stack.enter_context(scratch))
        else:
            splits = _load_dataset(source)
        missing = [split for split in ("train", "test") if not splits.get(split)]
        if missing:
            raise UsageError(
                f"{source} has no {' and no '.join(missing)} split (found: {', '.join(splits)}): "
                f"MNIST needs train and test, none of them empty."
            )
        pixels = {}
        for split in ("train", "test"):
            where = f"the {split} split of {source}"
            table = splits[split].with_format("arrow")[:]
            pixels[f"{split}_images"], pixels[f"{split}_labels"] = _decode(table, where)
        return pixels


def _load_dataset(source: str | Path, **options: Any) -> Any:
    """Call ``datasets.load_dataset``; turn every failure into one clear error."""
    with extras.named("load_mnist"):
        import datasets

    try:
        return datasets.load_dataset(str(source), **options)
    except Exception as error:
        detail = summarize_error(error)
        if isinstance(source, Path):
            raise UsageError(
                f"cannot read the data in {str(source)!r}: empty, corrupt or of another layout "
                f"than {MNIST_HUB_NAME} on the hub ({detail})."
            ) from error
        given = os.environ.get("INITSCOPE_DATA")
        looked = f"INITSCOPE_DATA={given} holds no folder 'mnist'" if given else "it is not set"
        raise UsageError(
            f"no local copy of MNIST, and {source!r} cannot be had from the Hugging Face hub "
            f"({detail}). Either set the environment variable INITSCOPE_DATA to a folder that "
            f"holds mnist/*.parquet ({looked}), or connect to the network once: the copy from "
            f"the hub is then kept."
        ) from error


def _decode(table: Any, where: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode pixels and labels of one split, a table with columns ``image`` and ``label``."""
    with extras.named("load_mnist"):
        from PIL import Image

    if not {"image", "label"} <= set(table.column_names):
        raise UsageError(
            f"{where} has the columns {', '.join(table.column_names)}: MNIST needs image and label."
        )
    try:
        labels = np.array(table.column("label").to_pylist(), dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"the labels in {where} are not whole numbers ({error}).") from error
    if labels.min() < 0 or labels.max() > 9:
        raise UsageError(f"{where} has labels from {labels.min()} to {labels.max()}, not 0 to 9.")

    images = np.empty((len(labels), 28, 28), dtype=np.uint8)
    for row, cell in enumerate(table.column("image").to_pylist()):
        try:
            # Naming the format spares Pillow trying every one of them on each of 70,000 images.
            image = Image.open(io.BytesIO(cell["bytes"]), formats=("PNG",))
            content = image.tobytes()
        except Exception as error:
            raise UsageError(f"row {row} of {where} is not a PNG image ({error}).") from error
        if image.size != (28, 28) or image.mode != "L":
            raise UsageError(
                f"row {row} of {where} has {image.width}x{image.height} pixels in mode "
                f"{image.mode}: MNIST has 28x28 in mode L (gray)."
            )
        images[row] = np.frombuffer(content, dtype=np.uint8).reshape(28, 28)
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.uint8))


# --- The cache of decoded MNIST: one safetensors file a source -----------------------------


def _fingerprint(source: str | Path) -> str:
    """Return a digest of a folder's files, names and content, or of a name on the hub."""
    digest = hashlib.sha256(CACHE_FORMAT.encode())
    if not isinstance(source, Path):
        digest.update(f"hub:{source}".encode())
        return digest.hexdigest()
    add_files(digest, source)
    return digest.hexdigest()


def _cache_path(fingerprint: str) -> Path:
    """Return the cache file of a data set of this fingerprint."""
    return cache_folder() / f"mnist-{fingerprint[:32]}.safetensors"


def _checksum(pixels: dict[str, torch.Tensor]) -> str:
    """Return the digest of the bytes of all tensors."""
    total = 0
    for name in sorted(pixels):
        total = zlib.crc32(pixels[name].numpy().data, total)
    return f"{total:08x}"


def _read_cache(path: Path) -> dict[str, torch.Tensor] | None:
    """Map the tensors of a cache file into memory; none if it is absent or not intact."""
    from safetensors import safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            pixels = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            intact = (file.metadata() or {}).get("crc32") == _checksum(pixels)
        for split in ("train", "test"):
            images, labels = pixels[f"{split}_images"], pixels[f"{split}_labels"]
            intact = intact and images.dtype == labels.dtype == torch.uint8
            intact = intact and images.shape == (len(labels), 28, 28)
    except Exception:
        # Whatever is wrong with the file, the data is still in the source: decode it again.
        return None
    return pixels if intact else None


def _write_cache(path: Path, pixels: dict[str, torch.Tensor], source: str) -> None:
    """Write a cache file whole or not at all; say once if that is impossible."""
    from safetensors.torch import save

    try:
        with atomic_write(path) as part:
            part.write_bytes(save(pixels, metadata={"crc32": _checksum(pixels), "source": source}))
    except OSError as error:
        _warn_no_cache(str(path.parent), str(error.strerror or error))


@functools.cache
def _warn_no_cache(folder: str, reason: str) -> None:
    """Warn that the images will be decoded again next time."""
    warnings.warn(
        f"MNIST cannot be cached in {folder!r} ({reason}), so that each load decodes it again, in "
        f"seconds. Set the environment variable INITSCOPE_CACHE to a folder that can be written.",
        UserWarning,
        stacklevel=4,
    )
