"""Numbers survive their packing, and JavaScript reads what Python does."""

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from initscope.widgets.bundle import SCRIPTS
from initscope.widgets.codec import FLOAT, MANTISSA, WHOLE, Reader, Writer, even, logarithmic

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=4)
AXES = st.sampled_from([(), (0,), (1,), (2,), (0, 2), (2, 0, 1)])
MISSING = st.just(math.nan)
FINITE = st.floats(-1e38, 1e38)
KINDS = {
    "whole": (WHOLE, st.integers(0, 2**28), {"atol": 0}),
    "float": (
        FLOAT,
        FINITE | MISSING | st.sampled_from([math.inf, -math.inf]),
        {"rtol": 2.0 ** -(MANTISSA + 1), "atol": 1e-41},
    ),
    "even(10_000)": (even(10_000), st.floats(0, 1) | MISSING, {"atol": 0.5e-4 + 1e-12}),
    "even(1, -1)": (even(1, -1), st.integers(-1, 10**8).map(float) | MISSING, {"atol": 0}),
    "logarithmic(0.02)": (
        logarithmic(0.02),
        st.floats(1e-307, 1e307) | MISSING | st.sampled_from([0.0, math.inf]),
        {"rtol": 0.02 + 1e-9},
    ),
}


def packed(arrays: list[tuple[np.ndarray, Any, tuple[int, ...]]]) -> bytes:
    writer = Writer()
    for values, kind, along in arrays:
        writer.add(values, kind, along)
    return writer.packed()


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_numbers_survive(name: str, data: st.DataObject) -> None:
    kind, elements, allowed = KINDS[name]
    dtype = np.int64 if name == "whole" else float
    shape, along = data.draw(SHAPES), data.draw(AXES)
    values = data.draw(hnp.arrays(dtype, shape, elements=elements))
    reader = Reader(packed([(values, kind, along), (np.array([7]), WHOLE, ())]))
    found = reader.take(shape, kind, along)
    np.testing.assert_allclose(found, values, **{"rtol": 0, "atol": 0} | allowed)
    assert reader.take((1,), WHOLE)[0] == 7  # it has read to the end, and no further


def test_what_is_smooth_takes_little_room() -> None:
    values = 0.02 * np.exp(np.linspace(0, 1, 500))[None, :] * np.ones((12, 1))
    size = len(packed([(values, FLOAT, (1,))]))
    assert size < 0.5 * len(packed([(values, FLOAT, ())]))
    assert size < 0.05 * values.astype(np.float32).nbytes
    assert len(zlib.decompress(packed([(np.zeros((9, 9)), WHOLE, ())]))) == 1  # no byte of 0s


def test_javascript_reads_the_same(node: Callable[..., Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shape = (3, 5, 4)
    made = {
        "whole": rng.integers(0, 2**28, shape),
        "float": rng.normal(size=shape) * 10.0 ** rng.integers(-35, 35, shape),
        "even(10_000)": rng.uniform(size=shape),
        "even(1, -1)": rng.integers(-1, 10**8, shape).astype(float),
        "logarithmic(0.02)": 10.0 ** rng.uniform(-200, 200, shape),
    }
    special = {
        "float": [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40],
        "even(10_000)": [math.nan, 0, 1],
        "logarithmic(0.02)": [math.nan, 0.0, math.inf],
    }
    arrays, calls = [], []
    for name, values in made.items():
        values.ravel()[: len(special.get(name, []))] = special.get(name, [])
        for along in ((), (2,), (0, 1)):
            arrays.append((values, KINDS[name][0], along))
            calls.append(f"[...read({list(shape)}, {name}, {list(along)})]")
    data = packed(arrays)
    module = tmp_path / "read.mjs"
    module.write_text(
        f'import {{ inflate }} from "{(SCRIPTS / "lib/inflate.mjs").as_uri()}";\n'
        "import { even, float, logarithmic, reader, whole }"
        f' from "{(SCRIPTS / "lib/codec.mjs").as_uri()}";\n'
        "export async function all(bytes) {\n"
        "  const read = reader(await inflate(Uint8Array.from(bytes)));\n"
        f"  return [{', '.join(calls)}];\n}}\n"
    )
    found = node(module, "all", list(data))
    reader = Reader(data)
    for (_, kind, along), theirs in zip(arrays, found, strict=True):
        ours = reader.take(shape, kind, along).ravel()
        np.testing.assert_allclose(np.array(theirs, float), ours, rtol=1e-12)
