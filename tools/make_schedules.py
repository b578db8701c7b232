"""Picture docs/pictures/schedules.png of all schedules: `python tools/make_schedules.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from kerasdl.core import files  # noqa: E402
from kerasdl.train import schedules  # noqa: E402
from kerasdl.train.optim.schedule_plots import plot_schedules  # noqa: E402

SHOWN = {
    "polynomial": "polynomial",
    "exponential": "exponential",
    "step": "step",
    "noam (512, 2000)": schedules.Noam(512, 2000),
    "cosine": "cosine",
    "Warmup(0.1, cosine)": schedules.Warmup(0.1, "cosine"),
    "cosine_restarts": "cosine_restarts",
    "one_cycle": "one_cycle",
}

figure = plot_schedules(SHOWN, steps=10_000, learning_rate=1e-3)
with files.writing(ROOT / "docs" / "pictures" / "schedules.png") as file:
    figure.savefig(file)
