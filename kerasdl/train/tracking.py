"""Trackers of experiments: each sends the settings, the figures of every epoch and the end of a run somewhere.

They go into `fit(callbacks=[...])`; of several workers, the chief's alone do anything.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from kerasdl.core import checks, files
from kerasdl.core.packages import optional

from . import logs
from .tracking_base import Ending, Places, Tracker
from .tracking_wandb import WandB

__all__ = ["CSVLog", "Ending", "MLflow", "TensorBoard", "Tracker", "WandB"]


class CSVLog(Tracker):
    """Keeps the figures of each epoch in a CSV file; settings and the state of the run stand in a JSON file beside it.

    Both are written whole after each epoch. The state is "running", "finished", "failed" or "killed".

    Args:
        path: the file; it must end in .csv, and the other takes its name with .json.

    Raises:
        ArgumentError: the path ends otherwise.

    Example:
        >>> config = RunConfig(epochs=2, progress="off")
        >>> run = fit(model, (x, y), callbacks=[tracking.CSVLog("first.csv")], config=config)
        >>> len(open("first.csv").readlines())
        3
    """

    title = "the CSV log"

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".csv":
            checks.refuse("the path of a CSV log must end in .csv", str(path))

    def open(self) -> Places:
        self._state("running")
        self._write()
        return {(name, epoch) for epoch, figures in self.history for name in figures}

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._write()

    def _write(self) -> None:
        names = dict.fromkeys(name for _, each in self.history for name in each)
        columns = {name: [each.get(name, "") for _, each in self.history] for name in names}
        logs.write_csv(self.path, columns)

    def close(self, ending: Ending, artifacts: list[Path]) -> None:
        self._state(ending.state, ending.error)

    def _state(self, state: str, error: str = "") -> None:
        told = {"error": error} if error else {}
        files.write_json(self.path.with_suffix(".json"), {"state": state, **told, "settings": self.settings})


class TensorBoard(Tracker):
    """Writes the figures of each epoch as scalars, and the settings as hyperparameters of its HParams page.

    Training and validation are two runs side by side, as with `RunConfig(tensorboard=True)`. TensorBoard knows no
    runs that were killed: they are shown as failed.

    Args:
        folder: where the run is written; a folder of its own for each run.

    Example:
        >>> config = RunConfig(epochs=1, progress="off")
        >>> run = fit(model, (x, y), callbacks=[tracking.TensorBoard("runs/first")], config=config)
    """

    title = "TensorBoard"

    def __init__(self, folder: str | os.PathLike):
        super().__init__()
        self.folder = Path(folder)

    def open(self) -> Places:
        # Imported here, since they take seconds.
        from tensorboard.plugins.hparams import api

        arrived = _scalars_in(self.folder) if self.resumed else set()
        self.scalars = logs.TensorBoardLog(self.folder)
        self.hyperparameters = tf.summary.create_file_writer(str(self.folder))
        settings = {name: "None" if value is None else value for name, value in self.settings.items()}
        self._write(api.hparams_pb(settings, trial_id=self.folder.name))
        return arrived

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.scalars.end_epoch(epoch - 1, dict(figures))

    def close(self, ending: Ending, artifacts: list[Path]) -> None:
        from tensorboard.plugins.hparams import api_pb2, summary

        status = api_pb2.STATUS_SUCCESS if ending.state == "finished" else api_pb2.STATUS_FAILURE
        self._write(summary.session_end_pb(status))
        self.hyperparameters.close()
        self.scalars.end()

    def _write(self, summary) -> None:
        with self.hyperparameters.as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)
        self.hyperparameters.flush()


def _scalars_in(folder: Path) -> Places:
    found = set()
    for part, prefix in (("train", ""), ("validation", "val_")):
        for path in (folder / part).glob("events.out.tfevents.*"):
            for event in _events(path):
                found |= {(prefix + value.tag, event.step) for value in event.summary.value}
    return {(name, int(step)) for name, step in found}


def _events(path: Path) -> Iterator[tf.compat.v1.Event]:
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.compat.v1.Event.FromString(record)
    except tf.errors.DataLossError:  # a kill left half a record at the end
        return


class MLflow(Tracker):
    """Logs a run to MLflow: settings as parameters, figures as metrics by epoch, log.csv and curves.png as artifacts.

    A resumed run goes on in the run that it had. MLflow's own reports of use are switched off.

    Args:
        uri: a folder, or any address that MLflow takes ("http://host:5000"); None takes what
            `mlflow.set_tracking_uri` or MLFLOW_TRACKING_URI says, else the folder `mlruns` here.
        experiment: the experiment to which the run belongs; made where it does not exist.
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

    def open(self) -> Places:
        with _patience_of_mlflow():
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
            for start in range(0, len(parameters), 100):  # so many go into a request
                self.client.log_batch(self.id, params=parameters[start : start + 100], synchronous=True)
            return {
                (name, metric.step)
                for name in run.data.metrics
                for metric in self.client.get_metric_history(self.id, name)
            }

    def named(self, name: str) -> str:
        return _allowed(name)

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [self.mlflow.entities.Metric(self.named(name), value, now, epoch) for name, value in figures.items()]
        with _patience_of_mlflow():
            self.client.log_batch(self.id, metrics=metrics, synchronous=True)

    def close(self, ending: Ending, artifacts: list[Path]) -> None:
        with _patience_of_mlflow():
            for path in artifacts:
                self.client.log_artifact(self.id, str(path))
            if ending.error:
                self.client.set_tag(self.id, "error", ending.error)
            self.client.set_terminated(self.id, ending.state.upper())

    def _experiment_id(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return self.client.create_experiment(self.experiment)
            except self.mlflow.MlflowException:  # another process may have made it meanwhile
                found = self.client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return found.experiment_id


@contextmanager
def _patience_of_mlflow() -> Iterator[None]:
    # By itself MLflow tries for minutes to reach a server, in which the run would stand still, and refuses folders.
    wanted = {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    }
    ours = [name for name in wanted if name not in os.environ]
    os.environ.update({name: wanted[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _allowed(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)
