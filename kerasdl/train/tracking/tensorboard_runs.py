"""TensorBoard log of a run: scalars and the HParams page."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from ..loop import run_logs
from .tracker import Ending, Places, Tracker


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
        self.scalars = run_logs.TensorBoardLog(self.folder)
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
