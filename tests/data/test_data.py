from __future__ import annotations

import errno
import hashlib
import io
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import sklearn.datasets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from initscope import data
from initscope.errors import UsageError

PROJECT = Path(__file__).resolve().parents[2]
CONFIGURED_DATA = os.environ.get("INITSCOPE_DATA")

# Of the published IDX files, uncompressed.
MNIST_MD5 = {
    "train_images": "6bbc9ace898e44ae57da46a324031adb",
    "train_labels": "a25bea736e30d166cdddb491f175f624",
    "test_images": "2646ac647ad5339dbf082846283269ea",
    "test_labels": "27ae3e4e09519cfbb04c329615203637",
}
MNIST_LABEL_COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    roots = [Path(CONFIGURED_DATA)] if CONFIGURED_DATA else [PROJECT.parent / "shared" / "data"]
    for root in roots:
        if (root / "mnist").is_dir():
            return root / "mnist"
    pytest.skip(f"real MNIST is not here: no folder 'mnist' in {roots[0]}; set INITSCOPE_DATA")


@pytest.fixture(scope="session")
def mnist_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mnist-cache")


@pytest.fixture(scope="session")
def mnist(mnist_folder: Path, mnist_cache: Path) -> data.Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITSCOPE_DATA", str(mnist_folder.parent))
        patch.setenv("INITSCOPE_CACHE", str(mnist_cache))
        return data.load_mnist()


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has an empty cache and no data folder but the one it names."""
    monkeypatch.setenv("INITSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INITSCOPE_DATA", raising=False)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def random_split(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, 256, (n, 28, 28), dtype=np.uint8),
        generator.integers(0, 10, n),
    )


def write_split(folder: Path, split: str, images: object, labels: object) -> None:
    """One split in the layout of the hub set; `images` are pixels, or bytes to store as such."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = [
        {"bytes": image if isinstance(image, bytes) else png(image), "path": None}
        for image in images
    ]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": cells, "label": [None if x is None else int(x) for x in labels]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(
        folder / f"{split}-00000-of-00001.parquet"
    )


def write_noise(folder: Path, train: int, test: int) -> Path:
    """A folder of the layout of MNIST: so many images of noise."""
    write_split(folder, "train", *random_split(train, seed=0))
    write_split(folder, "test", *random_split(test, seed=1))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_noise(tmp_path / "small" / "mnist", 30, 12)


def same(one: data.Dataset, other: data.Dataset) -> bool:
    names = ("train_inputs", "train_labels", "test_inputs", "test_labels")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


# --- the real MNIST ------------------------------------------------------------------------


def test_mnist_has_published_sizes_and_label_counts(mnist: data.Dataset) -> None:
    assert (mnist.n_features, mnist.n_classes, mnist.name) == (784, 10, "mnist")
    for split, counts in MNIST_LABEL_COUNTS.items():
        inputs, labels = getattr(mnist, f"{split}_inputs"), getattr(mnist, f"{split}_labels")
        assert (inputs.shape, inputs.dtype) == ((sum(counts), 784), torch.float32)
        assert labels.dtype == torch.int64
        assert labels.bincount().tolist() == counts


def test_mnist_is_the_published_files_pixel_for_pixel(mnist: data.Dataset) -> None:
    for split in ("train", "test"):
        inputs = getattr(mnist, f"{split}_inputs")
        pixels = (inputs.double() * mnist.input_std + mnist.input_mean) * 255
        content = pixels.round().to(torch.uint8).numpy().tobytes()
        header = struct.pack(">4i", 2051, len(inputs), 28, 28)
        assert hashlib.md5(header + content).hexdigest() == MNIST_MD5[f"{split}_images"]
        labels = getattr(mnist, f"{split}_labels")
        content = struct.pack(">2i", 2049, len(labels)) + labels.to(torch.uint8).numpy().tobytes()
        assert hashlib.md5(content).hexdigest() == MNIST_MD5[f"{split}_labels"]


def test_mnist_is_standardized_by_the_training_split(mnist: data.Dataset) -> None:
    # 0.1307 and 0.3081 stand in torchvision's examples.
    assert round(mnist.input_mean.item(), 4) == 0.1307
    assert round(mnist.input_std.item(), 4) == 0.3081
    train = mnist.train_inputs.numpy()
    assert abs(train.mean(dtype=np.float64)) < 1e-6
    assert abs(train.var(dtype=np.float64) - 1) < 1e-6
    assert mnist.test_inputs.mean().item() == pytest.approx((0.1325 - 0.1307) / 0.3081, abs=1e-3)


def test_cached_mnist_is_the_same_and_does_not_import_datasets(
    mnist: data.Dataset, mnist_folder: Path, mnist_cache: Path
) -> None:
    script = (
        "import sys; from initscope.data import load_mnist; d = load_mnist();"
        "print(d.train_inputs.double().square().sum().item(), d.test_inputs.double().sum().item());"
        "sys.exit('datasets' in sys.modules or 'PIL' in sys.modules)"
    )
    environment = {"INITSCOPE_DATA": str(mnist_folder.parent), "INITSCOPE_CACHE": str(mnist_cache)}
    result = run_python(script, environment)
    assert result.returncode == 0, result.stderr
    squares, total = (float(word) for word in result.stdout.split())
    assert squares == pytest.approx(mnist.train_inputs.double().square().sum().item(), rel=1e-12)
    assert total == pytest.approx(mnist.test_inputs.double().sum().item(), rel=1e-12)


def run_python(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- a folder in the layout of MNIST -------------------------------------------------------


def test_folder_keeps_rows_in_order_and_standardizes_by_train_only(small: Path) -> None:
    loaded = data.load_mnist(small)
    splits = {"train": random_split(30, seed=0), "test": random_split(12, seed=1)}
    mean, std = splits["train"][0].mean(), splits["train"][0].std()
    for split, (images, labels) in splits.items():
        expected = (images.reshape(-1, 784) - mean) / std
        inputs = getattr(loaded, f"{split}_inputs")
        np.testing.assert_allclose(inputs, expected, rtol=0, atol=1e-6)
        assert getattr(loaded, f"{split}_labels").tolist() == labels.tolist()
    assert loaded.input_mean.item() == pytest.approx(mean / 255, rel=1e-12)
    assert loaded.input_std.item() == pytest.approx(std / 255, rel=1e-12)


def test_columns_written_without_metadata_of_datasets_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        images, labels = random_split(5, seed=3)
        cells = [{"bytes": png(image), "path": None} for image in images]
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / f"{split}.parquet")
    loaded = data.load_mnist(tmp_path)
    assert loaded.train_labels.tolist() == labels.tolist()
    assert torch.equal(loaded.train_inputs, loaded.test_inputs)


def test_source_given_comes_before_data_folder_before_hub(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_noise(tmp_path / "other", 4, 3)
    asked = []

    def hub(name: str, **options: object) -> datasets.DatasetDict:
        asked.append(name)
        if name != "ylecun/mnist":
            return real(name, **options)
        return real(str(other), cache_dir=tmp_path / "hub")

    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", hub)
    monkeypatch.setenv("INITSCOPE_DATA", str(small.parent))
    assert len(data.load_mnist().train_labels) == 30
    assert len(data.load_mnist(other).train_labels) == 4
    assert len(data.load("mnist", source=str(other)).train_labels) == 4
    assert "ylecun/mnist" not in asked
    # The data folder may hold other sets only; the hub has the same MNIST.
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path))
    assert len(data.load_mnist().train_labels) == 4
    assert asked[-1] == "ylecun/mnist"
    # What came from the hub once is served without it.
    monkeypatch.delenv("INITSCOPE_DATA")
    assert len(data.load_mnist().train_labels) == 4
    assert asked.count("ylecun/mnist") == 1


@pytest.mark.parametrize("disabled", [False, True])
def test_no_progress_bar_is_shown_and_the_setting_stays(
    small: Path, capfd: pytest.CaptureFixture[str], disabled: bool
) -> None:
    switch = datasets.disable_progress_bars if disabled else datasets.enable_progress_bars
    switch()
    capfd.readouterr()  # what the fixtures wrote
    try:
        data.load_mnist(small)
        assert datasets.are_progress_bars_disabled() is disabled
    finally:
        datasets.enable_progress_bars()
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


# --- the cache -----------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The sources that `datasets.load_dataset` was called with."""
    made: list[str] = []
    real = datasets.load_dataset

    def counting(name: str, **options: object) -> datasets.DatasetDict:
        made.append(name)
        return real(name, **options)

    monkeypatch.setattr(datasets, "load_dataset", counting)
    return made


def cache_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


def test_second_load_comes_from_the_cache(small: Path, tmp_path: Path, calls: list[str]) -> None:
    first = data.load_mnist(small)
    second = data.load_mnist(small)
    assert same(first, second)
    assert len(calls) == 1
    (file,) = cache_files(tmp_path)
    assert file.suffix == ".safetensors"


def test_changed_folder_is_read_again(small: Path, calls: list[str]) -> None:
    first = data.load_mnist(small)
    file = small / "test-00000-of-00001.parquet"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    write_split(small, "test", *random_split(12, seed=9))
    os.utime(file, ns=times)  # a copy may well keep the old time
    second = data.load_mnist(small)
    assert torch.equal(first.train_inputs, second.train_inputs)
    assert not torch.equal(first.test_inputs, second.test_inputs)
    assert len(calls) == 2


def flipped(content: bytes, place: int) -> bytes:
    """`content` with another bit at one place."""
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: flipped(content, -1),
        lambda content: flipped(content, len(content) // 2),
        lambda _: b"nonsense" * 100,
        lambda _: b"",
    ],
    ids=["truncated", "last byte", "middle byte", "all", "empty"],
)
def test_damaged_cache_is_rebuilt(
    small: Path, tmp_path: Path, calls: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = data.load_mnist(small)
    (file,) = cache_files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert same(first, data.load_mnist(small))
    assert len(calls) == 2
    assert same(first, data.load_mnist(small))
    assert len(calls) == 2
    assert cache_files(tmp_path) == [file]


def test_without_a_cache_folder_data_loads_and_says_so_once(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = data.load_mnist(small)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("INITSCOPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot be cached in .*INITSCOPE_CACHE") as caught:
        loaded = data.load_mnist(small)
    assert same(loaded, expected)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(data.load_mnist(small), expected)


def test_full_disk_leaves_no_half_cache(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.warns(UserWarning, match="No space left on device"):
            loaded = data.load_mnist(small)
    assert cache_files(tmp_path) == []
    assert same(data.load_mnist(small), loaded)


# --- bad input -----------------------------------------------------------------------------


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./nowhere"):
        with pytest.raises(UsageError, match=r"nowhere.* is not there"):
            data.load_mnist(source)
    with pytest.raises(UsageError, match="source of MNIST is empty"):
        data.load_mnist("")
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="INITSCOPE_DATA names a folder that is not there"):
        data.load_mnist()


def test_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist").mkdir()
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot read the data in .*mnist.*: empty"):
        data.load_mnist()


TRAIN, TEST = (f"{split}-00000-of-00001.parquet" for split in ("train", "test"))
PIXELS, LABELS = random_split(3, seed=0)


def bytes_of(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda small: (small / TRAIN).write_bytes(change((small / TRAIN).read_bytes()))


def without(split: str) -> Callable[[Path], object]:
    return lambda small: (small / split).unlink()


def rows(split: str, images: object, labels: object) -> Callable[[Path], object]:
    return lambda small: write_split(small, split, images, labels)


def other_columns(small: Path) -> None:
    for split in (TRAIN, TEST):
        datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).to_parquet(small / split)


CORRUPT = "cannot read the data in .* corrupt"
NO_IMAGE = "row 2 of the test split of .* is not a PNG image"
ANOTHER_SIZE = "row 0 of the test split .* MNIST has 28x28 in mode L"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no bytes": (bytes_of(lambda _: b""), CORRUPT),
    "not parquet": (bytes_of(lambda _: b"not parquet" * 50), CORRUPT),
    "truncated": (bytes_of(lambda content: content[:-100]), CORRUPT),
    "zeros inside": (
        bytes_of(lambda content: content[:200] + bytes(5800) + content[6000:]),
        f"{CORRUPT}|is not a PNG",
    ),
    "no train": (without(TRAIN), "has no train split"),
    "no test": (without(TEST), "has no test split"),
    "no rows": (rows("test", [], []), "has no test split|cannot read the data"),
    "other columns": (other_columns, "columns text, label: MNIST needs image and label"),
    "another image": (rows("test", [*PIXELS[:2], b"not a PNG"], LABELS), NO_IMAGE),
    "empty image": (rows("test", [*PIXELS[:2], b""], LABELS), NO_IMAGE),
    "truncated image": (rows("test", [*PIXELS[:2], png(PIXELS[0])[:50]], LABELS), NO_IMAGE),
    "narrow": (rows("test", np.zeros((1, 28, 27), np.uint8), [0]), ANOTHER_SIZE),
    "large": (rows("test", np.zeros((1, 32, 32), np.uint8), [0]), ANOTHER_SIZE),
    "in color": (rows("test", np.zeros((1, 28, 28, 3), np.uint8), [0]), ANOTHER_SIZE),
    "label 10": (rows("train", PIXELS[:2], [3, 10]), "labels from 3 to 10, not 0 to 9"),
    "label -1": (rows("train", PIXELS[:2], [3, -1]), "from -1 to 3"),
    "no label": (rows("train", PIXELS[:2], [3, None]), "not whole numbers"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_no_mnist_is_refused_and_not_kept(
    small: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(small)
    with pytest.raises(UsageError, match=message):
        data.load_mnist(small)
    assert not (tmp_path / "cache").exists()


def test_images_without_contrast(small: Path) -> None:
    write_split(small, "train", np.full((2, 28, 28), 7, np.uint8), [0, 1])
    with pytest.raises(UsageError, match=r"every pixel .* has the same value"):
        data.load_mnist(small)


def test_no_network_and_no_data_names_both_remedies(tmp_path: Path) -> None:
    script = "from initscope.data import load_mnist; load_mnist()"
    result = run_python(script, {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")})
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("initscope.errors.UsageError: no local copy of MNIST")
    assert "set the environment variable INITSCOPE_DATA to a folder that holds mnist/" in message
    assert "connect to the network once" in message


def test_failure_of_the_hub_tells_where_was_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str, **options: object) -> None:
        raise ConnectionError(f"Couldn't reach {name!r}")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setenv("INITSCOPE_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=f"INITSCOPE_DATA={tmp_path} holds no folder 'mnist'"):
        data.load_mnist()
    with pytest.raises(UsageError, match=r"'some/other'.*ConnectionError: Couldn't reach"):
        data.load_mnist("some/other")


def test_unknown_name_and_misplaced_source() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'minst'. Did you mean 'mnist'"):
        data.load("minst")
    with pytest.raises(UsageError, match="takes no source"):
        data.load("wine", source="somewhere")


@pytest.mark.parametrize(
    "test_size", [-0.1, 0, 1, 1.5, float("nan"), float("inf"), 0.001, 0.999, "0.2", True, None]
)
@pytest.mark.parametrize("loader", [data.load_wine, data.load_digits])
def test_bad_test_size(loader: object, test_size: object) -> None:
    with pytest.raises(UsageError, match="test_size must be a share between 0 and 1"):
        loader(test_size=test_size)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, float("nan"), "0", None, True])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(UsageError, match=r"seed must be (a whole number|at most 4,294,967,295)"):
        data.load("wine", seed=seed)


# --- Wine and digits -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n_features", "counts"),
    [
        ("wine", 13, [59, 71, 48]),
        ("digits", 64, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
    ],
)
def test_small_sets_have_published_sizes(name: str, n_features: int, counts: list[int]) -> None:
    loaded = data.load(name)
    assert (loaded.n_features, loaded.n_classes, loaded.name) == (n_features, len(counts), name)
    assert loaded.train_inputs.dtype == torch.float32
    assert loaded.train_labels.dtype == torch.int64
    labels = torch.cat([loaded.train_labels, loaded.test_labels])
    assert labels.bincount().tolist() == counts


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_split_holds_every_row_once_and_is_stratified(name: str) -> None:
    raw = getattr(sklearn.datasets, f"load_{name}")()
    reference = None
    for seed in range(5):
        loaded = data.load(name, seed=seed)
        counts = loaded.train_labels.bincount(), loaded.test_labels.bincount()
        # Same number of rows for every seed; no class off its share by more than one row.
        sizes = [len(loaded.train_labels), len(loaded.test_labels)]
        reference = reference or sizes
        assert sizes == reference
        share = len(loaded.test_labels) / len(raw.target)
        assert (counts[1] - (counts[0] + counts[1]) * share).abs().max() <= 1
        inputs = torch.cat([loaded.train_inputs, loaded.test_inputs]).double()
        labels = torch.cat([loaded.train_labels, loaded.test_labels])
        constant = (loaded.input_std == 0).numpy()
        restored = (inputs * loaded.input_std + loaded.input_mean).numpy()
        rows, expected = sorted_rows(restored, labels.numpy()), sorted_rows(raw.data, raw.target)
        np.testing.assert_allclose(
            rows[:, ~np.append(constant, False)],
            expected[:, ~np.append(constant, False)],
            rtol=1e-5,
            atol=1e-5,
        )


def sorted_rows(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = np.column_stack([inputs, labels])
    return rows[np.lexsort(np.round(rows, 3).T)]


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_each_feature_is_standardized_by_the_training_rows(name: str) -> None:
    loaded = data.load(name, seed=3)
    train, varying = loaded.train_inputs.double(), loaded.input_std > 0
    assert train.mean(dim=0).abs().max() < 1e-6
    assert (train.var(dim=0, correction=0)[varying] - 1).abs().max() < 1e-6
    # The test rows are not centered: their statistics were not used.
    assert loaded.test_inputs.double().mean(dim=0)[varying].abs().max() > 1e-3


def test_constant_features_of_digits_are_zero() -> None:
    for seed in range(20):
        digits = data.load_digits(seed=seed)
        constant = digits.input_std == 0
        # The upper left pixel is empty in all 1797 images.
        assert constant[0]
        for inputs in (digits.train_inputs, digits.test_inputs):
            assert (inputs[:, constant] == 0).all()
            assert inputs.isfinite().all()


def test_split_depends_on_the_seed_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert same(data.load_wine(seed=1), data.load_wine(seed=1))
    assert not same(data.load_wine(seed=1), data.load_wine(seed=2))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), test_size=st.floats(0.02, 0.98))
def test_every_class_is_in_both_splits_for_any_share(seed: int, test_size: float) -> None:
    wine = data.load_wine(seed=seed, test_size=test_size)
    assert len(wine.test_labels) == int(np.ceil(178 * test_size))
    assert len(wine.train_labels) + len(wine.test_labels) == 178
    assert wine.train_labels.bincount(minlength=3).min() >= 1
    assert wine.test_labels.bincount(minlength=3).min() >= 1
    assert wine.train_inputs.isfinite().all()
    # A feature that is constant in a few training rows must not blow up elsewhere.
    assert wine.test_inputs.abs().max() < 1e6


def test_import_is_cheap() -> None:
    script = (
        "import sys, initscope.data, initscope.tracking;"
        "print([m for m in ('datasets', 'sklearn', 'transformers', 'PIL') if m in sys.modules])"
    )
    assert run_python(script, {}).stdout.strip() == "[]"
