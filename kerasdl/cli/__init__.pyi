from . import evaluation_report as evaluation_report
from . import run_options as run_options
from . import text_start as text_start
from . import training_data as training_data
from .commands import main as main
from .images import read_inputs as read_inputs
from .images import write_drawings as write_drawings
from .quickstart import run_quickstart as run_quickstart
