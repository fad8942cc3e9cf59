"""GPT-2's stds under versions of transformers other than the installed one.

Each is installed from the package index; where there is none to be reached, the test is skipped
with a warning, or fails if ``CI`` is set.
"""

import os
import subprocess
import warnings

import pytest
from transformers_versions import install, measure

RESIDUAL = 0.02 / 24**0.5

# The oldest that is admitted, and the first that drops the factor; transformers_versions.py tries
# all of them.
VERSIONS = {"4.50.0": 1, "5.0.0": 24**0.5}


@pytest.mark.compatibility
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_stds_of_gpt2_do_not_depend_on_transformers(version, tmp_path):
    try:
        install(version, tmp_path)
    except subprocess.CalledProcessError as error:
        message = f"transformers {version} cannot be installed here: {error.stderr[-300:]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    found = measure(tmp_path)
    assert found["version"] == version
    for name, std in found["ours"].items():
        expected = RESIDUAL if name.endswith("c_proj") else 0.02
        assert std == pytest.approx(expected, rel=0.01), name
    # What the book says of transformers' own initialization, so that it does not become untrue.
    for name in ("attn.c_proj", "mlp.c_proj"):
        assert found["own"][name] == pytest.approx(VERSIONS[version] * RESIDUAL, rel=0.01)
