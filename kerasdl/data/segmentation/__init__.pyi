from .cells import draw_cells as draw_cells
from .class_frequencies import class_weights as class_weights
from .mask_folders import read_masks as read_masks
from .mask_writing import write_masks as write_masks
from .tfds_masks import read_tfds_masks as read_tfds_masks
from .unet_weight_map import border_weights as border_weights
from .voc_masks import read_voc_masks as read_voc_masks
