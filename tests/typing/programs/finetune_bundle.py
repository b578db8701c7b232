"""Fine-tuning of a pretrained bundle on a folder of photos."""

from pathlib import Path
from typing import assert_type

import kerasdl

bundle = kerasdl.load_bundle("glyphs_mobilenet")
photos = kerasdl.data.load(Path("photos"))
tuned = bundle.finetune(photos, validation=kerasdl.data.load(Path("photos"), "validation"), epochs=5)
assert_type(bundle, kerasdl.Bundle)
assert_type(tuned, kerasdl.Bundle)
assert_type(tuned.save("mine.zip"), Path)
assert_type(tuned.labels, tuple[str, ...])
