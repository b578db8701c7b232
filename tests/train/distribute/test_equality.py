"""Two workers, or two replicas, with half a batch each do what one process does with the whole batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("equal_run.py")
EXACT = ("plain", "accumulation", "clip_norm", "clip_value", "uneven_ema", "almost_empty")
EXACT += ("own", "own_accumulation", "own_clip_ema", "trainer", "trainer_accumulation")

ROUNDED = ("plain", "own")
OTHERS = ("worker0", "worker1", "mirrored")


def trained_everywhere(folder):
    """Trains every case alone, alone with permuted batches, on two devices of one process, and in two workers."""
    alone = [sys.executable, str(SCRIPT), str(folder)]
    launched = [sys.executable, "-m", "kerasdl", "launch", "--workers", "2", "--restarts", "0", "--", *alone]
    for command in (alone, launched):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return {name: np.load(folder / f"{name}.npz") for name in ("alone", "permuted", *OTHERS)}


def distance(first, second, key):
    return np.abs(first[key] - second[key]).max()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_with_half_a_batch_do_what_one_does_with_the_whole(tmp_path):
    """One test, since its runs cost minutes and xdist would make them once for each of its processes."""
    runs = trained_everywhere(tmp_path)
    failed = [problem for case in EXACT for where in OTHERS for problem in inequalities(runs, case, where)]
    weights = [key for key in runs["worker0"].files if key.endswith("/weights")]
    assert len(weights) == len(EXACT) + len(ROUNDED) + 2
    failed += [f"{key}: the workers differ" for key in weights if distance(runs["worker0"], runs["worker1"], key) > 0]
    for where in ("worker0", "mirrored"):
        failed += strays(runs, where)
    assert not failed, "\n".join(failed)


def inequalities(runs, case, where):
    """Yields how the weights and figures of a case differ from those of one process by more than rounding."""
    alone, other = runs["alone"], runs[where]
    key = f"float64/{case}/weights"
    assert alone[key].std() > 0.05, case
    if distance(alone, other, key) > 1e-9:
        yield f"{case} in {where}: weights differ by {distance(alone, other, key):.1e} in float64"
    if case in ROUNDED:
        key = f"float32/{case}/weights"
        found, rounding = distance(alone, other, key), distance(alone, runs["permuted"], key)
        if found > max(3 * rounding, 1e-6):
            yield f"{case} in {where}: weights differ by {found:.1e} in float32, {rounding:.1e} by rounding"
    figures = [key for key in alone.files if key.startswith(f"float64/{case}/") and not key.endswith("weights")]
    assert len(figures) > 1, case
    for key in figures:
        if distance(alone, other, key) > 1e-9:
            yield f"{key} in {where}: differs by {distance(alone, other, key):.1e}"


def strays(runs, where):
    """Yields which loss curves lie beyond the spread of the seed, or of 16-bit rounding."""
    one, other = (runs["alone"][f"float32/{name}/loss"] for name in ("random", "other_seed"))
    spread = np.abs(one - other).max()
    if np.abs(runs[where]["float32/random/loss"] - one).max() > 3 * spread:
        yield f"random in {where}: the loss lies beyond the spread of the seed"
    curve = runs["alone"]["float32/bfloat16/loss"]
    assert curve[0] - curve[-1] > 0.1
    if (np.abs(runs[where]["float32/bfloat16/loss"] - curve) > 0.02 * curve).any():
        yield f"bfloat16 in {where}: the loss does not follow that of one process"
