from .commands import main as main
from .images import read_inputs as read_inputs
from .quickstart import run_quickstart as run_quickstart
