from .exposure import ExposureBias as ExposureBias
from .exposure import exposure_bias as exposure_bias
from .pairs import teacher_forcing as teacher_forcing
from .pictures import draw_alignment as draw_alignment
from .translator import Translator as Translator
