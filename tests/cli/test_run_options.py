"""Augmentation policies and trackers of `kerasdl finetune`."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.cli.run_options import POLICIES, augmentation, trackers
from kerasdl.core.errors import ArgumentError

SETTINGS = {"image_shape": [16, 24, 3], "scale": [0.0, 1.0]}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_changes_images_within_their_scale(policy):
    image = tf.random.stateless_uniform((16, 24, 3), (1, 2))
    change = augmentation(policy, SETTINGS)
    changed = [change(image, tf.constant([0, number])).numpy() for number in range(4)]
    assert all(each.shape == (16, 24, 3) for each in changed)
    assert min(each.min() for each in changed) >= -1e-5
    assert max(each.max() for each in changed) <= 1 + 1e-5
    assert max(np.abs(each - image).max() for each in changed) > 0.05


def test_policies_that_do_not_fit_are_refused():
    assert augmentation(None, SETTINGS) is None
    with pytest.raises(ArgumentError, match=r"--augment must be one of \('light', 'randaugment', 'augmix'\)"):
        augmentation("heavy", SETTINGS)
    with pytest.raises(ArgumentError, match="bundles of images"):
        augmentation("light", {"mean": [0.0]})
    per_channel = {**SETTINGS, "scale": [[-2.1, -2.0, -1.8], [2.2, 2.4, 2.6]]}
    with pytest.raises(ArgumentError, match="Take --augment light"):
        augmentation("augmix", per_channel)
    assert augmentation("light", per_channel) is not None


def test_each_stage_has_trackers_of_its_own(tmp_path):
    of_stage = trackers(tmp_path, None, "mine")
    assert [of_stage(stage)[0].folder.name for stage in ("head", "stage1")] == ["head", "stage1"]
    assert trackers(None, None, "mine")("head") == []
