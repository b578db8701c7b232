"""Runs that are killed, preempted or out of room end with the weights of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import kerasdl

SCRIPT = Path(__file__).with_name("survivor.py")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("survival")]  # one process, whose undisturbed runs all share


def start(folder, *launcher):
    path = os.pathsep.join(filter(None, [str(Path(kerasdl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    command = [sys.executable, *launcher, str(SCRIPT), str(folder)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def in_two_workers(*more):
    return "-m", "kerasdl", "launch", "--workers", "2", *more, "--", sys.executable


def wait_for_step(folder, least, process):
    """Waits for a checkpoint inside an epoch at a step of at least so many; returns its step."""
    while process.poll() is None:
        steps = [int(path.name[5:]) for path in folder.glob("checkpoints/step_*")]
        found = max((step for step in steps if step >= least and step % 60), default=None)
        if found is not None:
            return found
        time.sleep(0.005)
    raise AssertionError(process.stdout.read())


def hashes(output):
    return {line.split()[line.split().index("hash") + 1] for line in output.splitlines() if "hash " in line}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    output = start(folder).communicate(timeout=200)[0]
    assert len(hashes(output)) == 1, output
    return hashes(output)


@pytest.fixture(scope="module")
def undisturbed_pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole_pair")
    output = start(folder, *in_two_workers()).communicate(timeout=200)[0]
    assert len(hashes(output)) == 1, output  # both workers print the same
    return hashes(output)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.bars)])
def test_kills_at_random_moments_and_as_many_resumes_change_nothing(tmp_path, undisturbed, kills):
    rng, progress = random.Random(0), []
    while len(progress) < kills:
        process = start(tmp_path)
        newest = max((int(path.name[5:]) for path in tmp_path.glob("checkpoints/step_*")), default=-1)
        while process.poll() is None and not any(
            int(path.name[5:]) > newest for path in tmp_path.glob("checkpoints/step_*")
        ):
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        assert process.poll() is None, process.stdout.read()
        process.kill()
        process.wait()
        progress.append(max(int(path.name[5:]) for path in tmp_path.glob("checkpoints/step_*")))
    assert progress == sorted(progress)
    assert len({step % 60 for step in progress}) > min(5, kills // 2)  # they fell everywhere in an epoch
    output = start(tmp_path).communicate(timeout=200)[0]
    assert "resuming in" in output
    assert hashes(output) == undisturbed


def test_sigterm_saves_and_exits_with_a_code_of_its_own(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for_step(tmp_path, 70, process)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    stopped = int(output.split("interrupted after step ")[1].split(":")[0])
    assert max(int(path.name[5:]) for path in tmp_path.glob("checkpoints/step_*")) == stopped
    assert hashes(start(tmp_path).communicate(timeout=200)[0]) == undisturbed


@pytest.mark.bars
@pytest.mark.parametrize("victim", [pytest.param(0, id="the chief"), pytest.param(1, id="another")])
def test_a_killed_worker_ends_the_job_as_if_nothing_had_been(tmp_path, undisturbed_pair, victim):
    process = start(tmp_path, *in_two_workers("--restarts", "2"))
    wait_for_step(tmp_path, 70, process)
    worker_of(process, victim).kill()
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "resuming in" in output
    assert hashes(output) == undisturbed_pair


@pytest.mark.bars
def test_sigterm_to_a_launched_job_saves_once_and_exits_as_preempted(tmp_path, undisturbed_pair):
    process = start(tmp_path, *in_two_workers())
    wait_for_step(tmp_path, 70, process)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 75, output
    assert hashes(start(tmp_path, *in_two_workers()).communicate(timeout=300)[0]) == undisturbed_pair


def worker_of(process, index):
    """Finds a worker among the children of a launcher by its place in TF_CONFIG."""
    for child in psutil.Process(process.pid).children(recursive=True):
        config = child.environ().get("TF_CONFIG")
        if config and json.loads(config)["task"]["index"] == index and str(SCRIPT) in child.cmdline():
            return child
    raise AssertionError("no such worker")


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint_of_use(tmp_path, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        process = start(disk / "run")
        wait_for_step(disk / "run", 70, process)
        with open(disk / "filler", "wb", buffering=0) as filler:
            while process.poll() is None:
                try:
                    filler.write(bytes(4096))
                except OSError:
                    time.sleep(0.001)
        output = process.communicate()[0]
        assert process.returncode == 1
        assert "could not be written after step" in output
        assert "is whole. Free space or repair the folder; the same call then continues." in output
        (disk / "filler").unlink()
        assert not list((disk / "run/checkpoints").glob(".writing-*"))
        again = start(disk / "run").communicate(timeout=200)[0]
        assert "resuming in" in again
        assert hashes(again) == undisturbed
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
