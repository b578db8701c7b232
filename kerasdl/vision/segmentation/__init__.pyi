from .pixel_decoder import PixelDecoder as PixelDecoder
from .segmenter import Segmenter as Segmenter
