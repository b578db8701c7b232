from . import schedules as schedules
from .config import RunConfig as RunConfig
from .distilling import distill as distill
from .fitting import fit as fit
from .state import Run as Run
from .state import State as State
from .loop import run_steps as run_steps
from .watchers import Watcher as Watcher
