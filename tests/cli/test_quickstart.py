"""The main job's bar: over three seeds, fine-tuning is ahead of training from scratch by eight points."""

import json

import numpy as np
import pytest

import kerasdl


@pytest.mark.bars
def test_fine_tuning_is_ahead_of_from_scratch_by_eight_points(tmp_path, capsys):
    runs = [kerasdl.cli.run_quickstart(tmp_path / str(seed), seed=seed, quiet=True) for seed in range(3)]
    tuned, scratch = ([run[name] for run in runs] for name in ("fine-tuned", "from scratch"))
    with capsys.disabled():
        print(f"\nfine-tuned {tuned}, from scratch {scratch}, seconds {[round(run['seconds']) for run in runs]}")
    assert np.mean(tuned) - np.mean(scratch) >= 0.08
    assert min(scratch) > 0.5, "a baseline that does not learn proves nothing"
    for seed, run in enumerate(runs):
        assert json.loads((tmp_path / str(seed) / "figures.json").read_text())["exports"] == run["exports"]
        for export in run["exports"]:
            assert export["same answer"] >= 0.95
            assert export["accuracy"] >= run["fine-tuned"] - 0.02
