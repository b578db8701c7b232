"""Errors by kind."""

from typing import assert_type

import kerasdl

try:
    kerasdl.load_bundle("mine.zip")
except kerasdl.BundleError as error:
    assert_type(error, kerasdl.BundleError)
    print(error)
except kerasdl.KerasdlError as error:
    print(error)
assert_type(kerasdl.__version__, str)
