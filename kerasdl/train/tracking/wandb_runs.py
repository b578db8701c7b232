"""Weights & Biases tracker, and a reader of its run files."""

import json
import os
import secrets
import shutil
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from kerasdl.core import checks
from kerasdl.core.startup.packages import optional

from .tracker import FigureKeys, RunEnd, Tracker

EXIT_CODES = {"finished": 0, "failed": 1, "killed": 255}
BLOCK, HEAD = 32768, 7
WRITTEN_SECONDS = 10.0


class WandB(Tracker):
    """Tracker that logs a run to Weights & Biases, online or to files for `wandb sync`.

    Settings become the config of the W&B run, figures its history by epoch, and log.csv and curves.png its files. A
    resumed run keeps its id; offline this makes another folder with that id, and `wandb sync` joins them.

    Args:
        project: the project of the run.
        mode: `"offline"` or `"online"`; online needs `wandb login` or WANDB_API_KEY.
        folder: parent of the folder `wandb`; None takes WANDB_DIR, or the working directory.
        name: the name of the run; None leaves it to W&B.

    Raises:
        ArgumentError: an unknown mode.
        MissingPackageError: wandb is not installed.

    Example:
        >>> tracker = tracking.WandB("digits", folder="logs")
        >>> run = fit(model, (x, y), callbacks=[tracker], config=RunConfig(epochs=1, progress="off"))
    """

    title = "W&B"

    def __init__(
        self, project: str, mode: str = "offline", folder: str | os.PathLike | None = None, name: str | None = None
    ):
        super().__init__()
        self.mode = checks.one_of("mode", mode, ("offline", "online"))
        # Otherwise it sends error reports, offline too.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.wandb = optional("wandb", "track")
        self.project, self.name = project, name
        # Absolute, since W&B's own process keeps its working directory.
        self.folder = Path(os.environ.get("WANDB_DIR", ".") if folder is None else folder).resolve()

    def open(self) -> FigureKeys:
        self.id = self.id or secrets.token_hex(4)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):  # W&B would use another folder without a message
            raise PermissionError(f"{self.folder} cannot be written")
        self.run = self.wandb.init(
            project=self.project,
            name=self.name,
            mode=self.mode,
            dir=self.folder,
            config=self.settings,
            id=self.id,
            resume="allow" if self.mode == "online" else None,
            reinit="create_new",
            settings=self.wandb.Settings(silent=True, console="off", init_timeout=30.0, finish_timeout=60.0),
        )
        if self.mode == "online":
            # W&B online gives no list of steps, only the first step that it still accepts.
            names = set(self.run.summary.keys())
            return {(name, epoch) for name in names for epoch in range(self.run.starting_step)}
        paths = Path(self.run.dir).parents[1].glob(f"offline-run-*-{self.id}/*.wandb")
        return {(name, row["_step"]) for path in paths for row in rows_in(path) for name in row}

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=epoch, commit=True)

    def close(self, ending: RunEnd, artifacts: list[Path]) -> None:
        for path in artifacts:
            shutil.copy(path, self.run.dir)
        if ending.error:
            self.run.summary["error"] = ending.error
        self.run.finish(exit_code=EXIT_CODES[ending.state])
        if self.mode == "offline":
            _await_end(Path(self.run.dir).parent)


def rows_in(path: Path) -> list[dict[str, float]]:
    """Returns the history rows in a .wandb file, up to the first damaged record."""
    return [
        {(each.key or ".".join(each.nested_key)): json.loads(each.value_json) for each in record.history.item}
        for record in _records_in(path)
        if record.WhichOneof("record_type") == "history"
    ]


def _await_end(folder: Path) -> None:
    # W&B's own process writes the file some milliseconds after the run is finished.
    deadline = time.monotonic() + WRITTEN_SECONDS
    while time.monotonic() < deadline:
        paths = list(folder.glob("*.wandb"))
        if paths and all(any(each.WhichOneof("record_type") == "exit" for each in _records_in(path)) for path in paths):
            return
        time.sleep(0.01)
    raise TimeoutError(f"{folder} does not hold the end of the run")


def _records_in(path: Path) -> Iterator:
    return map(optional("wandb.proto.wandb_internal_pb2", "track").Record.FromString, _records(path.read_bytes()))


def _records(data: bytes) -> Iterator[bytes]:
    # The log format of LevelDB after seven bytes of W&B's own: blocks, and in them a checksum, a length and whether
    # this is a whole record (1) or the first (2), a middle (3) or the last part of one (4).
    at, parts = HEAD, b""
    while at + HEAD <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEAD:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += HEAD
        if kind not in (1, 2, 3, 4) or at + length > len(data):
            return
        parts = data[at : at + length] if kind in (1, 2) else parts + data[at : at + length]
        at += length
        if kind in (1, 4):
            yield parts
