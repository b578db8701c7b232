"""DarkNet-53 by the table of its paper."""

import kerasdl


def test_darknet53_by_its_table():
    """Table 1 of YOLOv3: 3x3 convolutions of stride 2 to twice the channels, then pairs of 1x1 and 3x3."""
    convolutions = [(3, 3, 32)]
    for stage, repeats in enumerate((1, 2, 8, 8, 4)):
        wide = 64 * 2**stage
        convolutions += [(3, wide // 2, wide)] + [(1, wide, wide // 2), (3, wide // 2, wide)] * repeats
    assert len(convolutions) == 52  # and the dense layer is the 53rd
    kernels = sum(side**2 * inputs * outputs for side, inputs, outputs in convolutions)
    norms = sum(outputs for *_, outputs in convolutions)
    assert kernels + 2 * norms + 1024 * 1000 + 1000 == 41_609_928
    assert kernels + 4 * norms + 1024 * 1000 + 1000 == kerasdl.spec("darknet53").params
