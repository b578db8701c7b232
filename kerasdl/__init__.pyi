from . import blocks as blocks
from . import bundles as bundles
from . import cli as cli
from . import core as core
from . import data as data
from . import deploy as deploy
from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from . import sequence as sequence
from . import tabular as tabular
from . import train as train
from . import vision as vision
from . import weights as weights
from .bundles import Bundle as Bundle
from .bundles import load_bundle as load_bundle
from .core import ModelSpec as ModelSpec
from .core import build as build
from .core import list_models as list_models
from .core import register as register
from .core import set_seed as set_seed
from .core import spec as spec
from .weights import import_weights as import_weights

__version__: str
