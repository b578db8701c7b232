"""A bundle and raw images for it; an honest model file, and the refusal of a forged one."""

import pytest
from forging import saved

import kerasdl
from kerasdl.bundles.format.model_file import check_model_file, load_model_file
from kerasdl.core.errors import BundleError


@pytest.fixture(scope="module")
def digits():
    return kerasdl.load_bundle("digits_mobilenet")


@pytest.fixture(scope="module")
def raw():
    return kerasdl.data.load("digits", "test", scale=None).take(100).arrays()


@pytest.fixture
def honest(tiny, tmp_path):
    return saved(tiny("mlp"), tmp_path).read_bytes()


@pytest.fixture
def refused(tmp_path):
    def check(content: bytes, said: str):
        path = tmp_path / "forged.keras"
        path.write_bytes(content)
        for read in (check_model_file, load_model_file):
            with pytest.raises(BundleError) as caught:
                read(path)
            assert said in str(caught.value), str(caught.value)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 700

    return check
