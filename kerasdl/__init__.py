"""kerasdl: a deep-learning curriculum as one Keras 3 library, from building block to verified file on the phone.

Importing it loads no TensorFlow: everything below loads on first use.
"""

import lazy_loader

from kerasdl.core.refusals import report_errors_once
from kerasdl.core.registry.index import load_index
from kerasdl.core.startup.import_hooks import import_after
from kerasdl.core.startup.quiet import silence_tensorflow
from kerasdl.core.startup.worker_startup import join_at_start

__version__ = "0.1.0"

silence_tensorflow()
join_at_start()
report_errors_once()
# Keras finds a class in a saved model only once its module is loaded.
import_after("keras", lambda: load_index().get("saved", ()))
__getattr__, _lazy_names, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __dir__() -> list[str]:
    return [*_lazy_names(), "__version__"]
