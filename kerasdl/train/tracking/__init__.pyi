from .csv_runs import CSVLog as CSVLog
from .mlflow_runs import MLflow as MLflow
from .tensorboard_runs import TensorBoard as TensorBoard
from .tracker import RunEnd as RunEnd
from .tracker import Tracker as Tracker
from .wandb_runs import WandB as WandB
