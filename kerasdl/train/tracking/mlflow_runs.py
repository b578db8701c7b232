"""MLflow tracker: parameters, metrics and artifacts of a training run."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kerasdl.core.startup.packages import optional

from .tracker import FigureKeys, RunEnd, Tracker


class MLflow(Tracker):
    """MLflow tracker: settings as parameters, figures as metrics by epoch, log.csv and curves.png as artifacts.

    A resumed run continues its MLflow run. MLflow's telemetry is switched off.

    Args:
        uri: a folder, or any address that MLflow takes ("http://host:5000"); None takes that of
            `mlflow.set_tracking_uri` or MLFLOW_TRACKING_URI, else the folder `mlruns` in the working directory.
        experiment: the experiment of the run; created where it does not exist.
        name: the name of the run; None leaves it to MLflow.

    Raises:
        MissingPackageError: mlflow is not installed.

    Example:
        >>> tracker = tracking.MLflow("mlruns", experiment="digits", name="first")
        >>> run = fit(model, (x, y), callbacks=[tracker], config=RunConfig(epochs=1, progress="off"))
    """

    title = "MLflow"

    def __init__(self, uri: str | os.PathLike | None = None, experiment: str = "kerasdl", name: str | None = None):
        super().__init__()
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self.mlflow = optional("mlflow", "track")
        if uri is None:
            uri = self.mlflow.get_tracking_uri() if self.mlflow.is_tracking_uri_set() else "mlruns"
        is_folder = isinstance(uri, os.PathLike) or (":" not in uri and not uri.startswith("databricks"))
        self.uri = Path(uri).resolve().as_uri() if is_folder else uri
        self.experiment, self.name = experiment, name

    def open(self) -> FigureKeys:
        with _short_mlflow_timeouts():
            self.client = self.mlflow.MlflowClient(tracking_uri=self.uri)
            if self.id is None:
                self.id = self.client.create_run(self._experiment_id(), run_name=self.name).info.run_id
            self.client.update_run(self.id, status="RUNNING")
            run = self.client.get_run(self.id)
            if "error" in run.data.tags:
                self.client.delete_tag(self.id, "error")
            parameters = [
                self.mlflow.entities.Param(_allowed(name), str(value)[:6000]) for name, value in self.settings.items()
            ]
            for start in range(0, len(parameters), 100):  # the limit of a request
                self.client.log_batch(self.id, params=parameters[start : start + 100], synchronous=True)
            return {
                (name, metric.step)
                for name in run.data.metrics
                for metric in self.client.get_metric_history(self.id, name)
            }

    def stored_name(self, name: str) -> str:
        return _allowed(name)

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self.mlflow.entities.Metric(self.stored_name(name), value, now, epoch) for name, value in figures.items()
        ]
        with _short_mlflow_timeouts():
            self.client.log_batch(self.id, metrics=metrics, synchronous=True)

    def close(self, ending: RunEnd, artifacts: list[Path]) -> None:
        with _short_mlflow_timeouts():
            for path in artifacts:
                self.client.log_artifact(self.id, str(path))
            if ending.error:
                self.client.set_tag(self.id, "error", ending.error)
            self.client.set_terminated(self.id, ending.state.upper())

    def _experiment_id(self) -> str:
        experiment = self.client.get_experiment_by_name(self.experiment)
        if experiment is None:
            try:
                return self.client.create_experiment(self.experiment)
            except self.mlflow.MlflowException:  # another process may have created it meanwhile
                experiment = self.client.get_experiment_by_name(self.experiment)
                if experiment is None:
                    raise
        return experiment.experiment_id


@contextmanager
def _short_mlflow_timeouts() -> Iterator[None]:
    # By default MLflow tries for minutes to reach a server, which would stop the run, and refuses folders.
    defaults = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    }
    ours = [name for name in defaults if name not in os.environ]
    os.environ.update({name: defaults[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _allowed(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)
