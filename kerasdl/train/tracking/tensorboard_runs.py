"""TensorBoard tracker: scalars and the HParams page of a run."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from ..loop import run_logs
from .tracker import FigureKeys, RunEnd, Tracker


class TensorBoard(Tracker):
    """Tracker that writes the figures of each epoch as scalars, and the settings to TensorBoard's HParams page.

    Training and validation are two runs side by side, as with `RunConfig(tensorboard=True)`. TensorBoard has no state
    for killed runs: they are shown as failed.

    Args:
        folder: folder of the run, a separate one for each run.

    Example:
        >>> config = RunConfig(epochs=1, progress="off")
        >>> run = fit(model, (x, y), callbacks=[tracking.TensorBoard("runs/first")], config=config)
    """

    title = "TensorBoard"

    def __init__(self, folder: str | os.PathLike):
        super().__init__()
        self.folder = Path(folder)

    def open(self) -> FigureKeys:
        # Imported here, since the import takes seconds.
        from tensorboard.plugins.hparams import api

        stored = _scalars_in(self.folder) if self.resumed else set()
        self.scalars = run_logs.TensorBoardLog(self.folder)
        self.hyperparameters = tf.summary.create_file_writer(str(self.folder))
        settings = {name: "None" if value is None else value for name, value in self.settings.items()}
        self._write(api.hparams_pb(settings, trial_id=self.folder.name))
        return stored

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.scalars.end_epoch(epoch - 1, dict(figures))

    def close(self, ending: RunEnd, artifacts: list[Path]) -> None:
        from tensorboard.plugins.hparams import api_pb2, summary

        status = api_pb2.STATUS_SUCCESS if ending.state == "finished" else api_pb2.STATUS_FAILURE
        self._write(summary.session_end_pb(status))
        self.hyperparameters.close()
        self.scalars.end()

    def _write(self, summary) -> None:
        with self.hyperparameters.as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)
        self.hyperparameters.flush()


def _scalars_in(folder: Path) -> FigureKeys:
    keys = set()
    for part, prefix in (("train", ""), ("validation", "val_")):
        for path in (folder / part).glob("events.out.tfevents.*"):
            for event in _events(path):
                keys |= {(prefix + value.tag, event.step) for value in event.summary.value}
    return {(name, int(step)) for name, step in keys}


def _events(path: Path) -> Iterator[tf.compat.v1.Event]:
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.compat.v1.Event.FromString(record)
    except tf.errors.DataLossError:  # a kill left half a record at the end
        return
