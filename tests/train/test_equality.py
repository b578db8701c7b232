"""Two workers, or two replicas, with half a batch each do what one process does with the whole batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("equal_run.py")
EXACT = ("plain", "accumulation", "clip_norm", "clip_value", "ema", "uneven", "almost_empty")
EXACT += ("own", "own_accumulation", "own_clip", "own_ema")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("equality")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Trains every case alone, alone with permuted batches, in two workers, and on two devices of one process."""
    folder = tmp_path_factory.mktemp("equality")
    alone = [sys.executable, str(SCRIPT)]
    launched = [sys.executable, "-m", "kerasdl", "launch", "--workers", "2", "--restarts", "0", "--", *alone]
    calls = {
        "alone": [*alone, folder / "alone"],
        "permuted": [*alone, folder / "permuted", "permuted"],
        "mirrored": [*alone, folder / "mirrored", "mirrored"],
        "workers": [*launched, folder / "workers"],
    }
    for command in calls.values():
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return {name: np.load(folder / f"{name}.npz") for name in ("alone", "permuted", "mirrored")} | {
        f"worker{index}": np.load(folder / f"workers_{index}.npz") for index in (0, 1)
    }


def distance(first, second, key):
    return np.abs(first[key] - second[key]).max()


@pytest.mark.parametrize("where", ["worker0", "worker1", "mirrored"])
@pytest.mark.parametrize("case", EXACT)
def test_weights_after_50_updates_equal_those_of_one_process(runs, case, where):
    key = f"float64/{case}/weights"
    assert runs["alone"][key].std() > 0.05
    assert distance(runs["alone"], runs[where], key) <= 1e-9
    key = f"float32/{case}/weights"
    rounding = distance(runs["alone"], runs["permuted"], key)
    assert distance(runs["alone"], runs[where], key) <= max(3 * rounding, 1e-6)


@pytest.mark.parametrize("where", ["worker0", "mirrored"])
@pytest.mark.parametrize("case", EXACT)
def test_figures_equal_those_of_one_process(runs, case, where):
    names = [key for key in runs["alone"].files if key.startswith(f"float64/{case}/") and not key.endswith("weights")]
    if case == "own_accumulation":  # its train_step returns the figures of each part
        names = [name for name in names if not name.endswith("accuracy")]
    assert len(names) > 1
    for name in names:
        np.testing.assert_allclose(runs[where][name], runs["alone"][name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("case", [*EXACT, "random", "bfloat16"])
def test_workers_equal_each_other_bit_for_bit(runs, case):
    key = f"float32/{case}/weights"
    np.testing.assert_array_equal(runs["worker0"][key], runs["worker1"][key])


@pytest.mark.parametrize("where", ["worker0", "mirrored"])
def test_with_random_masks_and_augmentation_the_loss_lies_in_the_spread_of_the_seed(runs, where):
    one, other = (runs["alone"][f"float32/{name}/loss"] for name in ("random", "other_seed"))
    spread = np.abs(one - other).max()
    assert np.abs(runs[where]["float32/random/loss"] - one).max() <= 3 * spread


@pytest.mark.parametrize("where", ["worker0", "mirrored"])
def test_the_loss_in_bfloat16_follows_that_of_one_process(runs, where):
    curve = runs["alone"]["float32/bfloat16/loss"]
    assert curve[0] - curve[-1] > 0.1
    np.testing.assert_allclose(runs[where]["float32/bfloat16/loss"], curve, rtol=0.02)
