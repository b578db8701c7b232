"""Foundations: deep learning from the neuron up, in NumPy alone, one chapter a file.

Every chapter is derived by hand and compared with Keras or TensorFlow in tests/foundations. No chapter imports
TensorFlow, nor the rest of kerasdl.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
