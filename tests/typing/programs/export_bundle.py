"""Export of a bundle for a phone, with the report of its check."""

from typing import assert_type

import kerasdl
from kerasdl.deploy import ExportReport

report = kerasdl.load_bundle("digits_mobilenet").export("digits.tflite", quantize="int8", representative="digits")
assert_type(report, ExportReport)
assert_type(report.bytes, int)
assert_type(report.top1_agreement, float | None)
