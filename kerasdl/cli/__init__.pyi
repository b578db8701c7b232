from .app import main as main
from .images import read_inputs as read_inputs
from .job import run_quickstart as run_quickstart
