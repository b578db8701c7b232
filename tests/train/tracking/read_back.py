"""Records of trackers, read back by the tools they write for: MLflow's client, TensorBoard's reader, W&B's records."""

import csv
import json
import struct
import zlib

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from wandb.proto import wandb_internal_pb2

from kerasdl.train.tracking import mlflow_runs, wandb_runs


class Found:
    """Records of a tracker: figures as (epoch, value) by name, settings as text by key, state, and names of files."""

    def __init__(self, figures, settings, states, files=()):
        self.figures, self.states, self.files = figures, states, set(files)
        self.settings = {key: str(value) for key, value in settings.items()}


def found_csv(folder):
    told = json.loads((folder / "log" / "run.json").read_text())
    with open(folder / "log" / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    figures = {
        name: [(int(row["epoch"]), float(row[name])) for row in rows]
        for name in (rows[0] if rows else ())
        if name != "epoch"
    }
    return Found(figures, told["settings"], [told["state"]])


def found_tensorboard(folder):
    figures = {}
    for part, prefix in (("train", ""), ("validation", "val_")):
        events = EventAccumulator(str(folder / "board" / part), purge_orphaned_data=False).Reload()
        for tag in events.Tags()["tensors"]:
            values = [(each.step, float(tf.make_ndarray(each.tensor_proto))) for each in events.Tensors(tag)]
            figures[prefix + tag] = sorted(values)  # files of one second have no order
    names = {api_pb2.STATUS_SUCCESS: "finished", api_pb2.STATUS_FAILURE: "not finished"}
    settings, states = {}, []
    for path in sorted((folder / "board").glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        events = EventAccumulator(str(path)).Reload()
        content = events.summary_metadata
        start = content["_hparams_/session_start_info"].plugin_data.content
        values = metadata.parse_session_start_info_plugin_data(start).hparams
        settings = {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}
        if "_hparams_/session_end_info" in content:
            end = content["_hparams_/session_end_info"].plugin_data.content
            states.append(names[metadata.parse_session_end_info_plugin_data(end).status])
    return Found(figures, settings, states[-1:])


def client_of(folder):
    # Not imported at the top: the tracker switches its reports of use off first.
    import mlflow

    with mlflow_runs._short_mlflow_timeouts():
        return mlflow.MlflowClient(tracking_uri=(folder / "mlruns").as_uri())


def found_mlflow(folder):
    client = client_of(folder)
    runs = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    (run,) = runs
    figures = {
        name: [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    files = [each.path for each in client.list_artifacts(run.info.run_id)]
    return Found(figures, run.data.params, [run.info.status.lower()], files)


def found_wandb(folder):
    figures, states, ids, files = {}, [], set(), []
    config = {}
    for path in sorted((folder / "logs").glob("wandb/offline-run-*/*.wandb")):
        for record in records_of(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add(record.run.run_id)
                config |= {each.key: json.loads(each.value_json) for each in record.run.config.update}
            if kind == "exit":
                states.append({0: "finished", 1: "failed", 255: "killed"}[record.exit.exit_code])
        for row in wandb_runs.rows_in(path):
            for name in {"sum", "val_sum"} & set(row):
                figures.setdefault(name, []).append((row["_step"], row[name]))
        files += [each.name for each in (path.parent / "files").iterdir()]
    assert len(ids) == 1
    return Found(figures, config, states[-1:], files)


FOUND = {"csv": found_csv, "tensorboard": found_tensorboard, "mlflow": found_mlflow, "wandb": found_wandb}


def records_of(path):
    """Reads a .wandb file apart from the library: whole records alone, each held to its checksum."""
    data, at = path.read_bytes(), 7
    while at + 7 <= len(data):
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        payload = data[at + 7 : at + 7 + length]
        assert kind == 1
        assert checksum == zlib.crc32(bytes([kind]) + payload)
        yield wandb_internal_pb2.Record.FromString(payload)
        at += 7 + length
