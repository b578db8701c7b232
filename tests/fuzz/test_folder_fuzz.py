"""Drawn folders of images are read right or refused in one line; the fuzzer sees what is wrong."""

import fuzz_folders
import pytest


@pytest.mark.slow
def test_drawn_folders_are_read_right_or_refused_in_one_line():
    figures = fuzz_folders.run(300, seed=1000, count=40)
    assert not figures.finds, str(figures)
    assert figures.trees == 40
    assert 0 < figures.refused < figures.loads


def test_a_few_drawn_folders_are_read_right():
    for seed in range(8):
        fuzz_folders.check_tree(seed)


def test_a_wrong_pixel_is_a_find(monkeypatch):
    decode = fuzz_folders.decode_image
    monkeypatch.setattr(fuzz_folders, "decode_image", lambda path: decode(path) ^ 1)
    assert fuzz_folders.run(60, seed=0, count=4).finds
