"""`kerasdl launch`: what workers get, how their ends are taken, and that none outlives the launcher."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerasdl.cli import launching, local_workers
from kerasdl.core.errors import ArgumentError, DataError

ROOT = Path(__file__).parents[2]
LAUNCH = """
import json, sys
from kerasdl.cli.launching import launch
sys.exit(launch(sys.argv[2:], **json.loads(sys.argv[1])))
"""
TELL = """
import json, os
place = json.loads(os.environ["TF_CONFIG"])
names = ("KERASDL_STRATEGY", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "CUDA_VISIBLE_DEVICES", "no_grpc_proxy")
found = {name: os.environ.get(name) for name in names}
print(json.dumps({**place, **found, "cores": sorted(os.sched_getaffinity(0))}))
"""
WHO = "import json, os, signal, sys, time; me = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"


def started(code, *words, env=None, **settings):
    """Starts a launcher of workers that run `code`."""
    settings = {"workers": 2, **settings}
    command = [sys.executable, "-c", LAUNCH, json.dumps(settings), sys.executable, "-c", code, *map(str, words)]
    mine = {name: value for name, value in os.environ.items() if name != "no_grpc_proxy"}
    env = {**mine, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def launched(code, *words, env=None, **settings):
    """Runs a launcher to its end."""
    process = started(code, *words, env=env, **settings)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(condition, what):
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit, f"not within 20 s: {what}"
        time.sleep(0.02)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def pids(folder, count):
    wait_until(lambda: len([p for p in folder.glob("pid*") if p.read_text()]) == count, "workers")
    return [int(path.read_text()) for path in folder.glob("pid*")]


def test_each_worker_knows_its_place_and_has_its_share():
    done = launched(TELL, env={"TF_CONFIG": "from outside", "http_proxy": "http://127.0.0.1:9"}, workers=2)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines(), key=lambda line: line.startswith("[1] "))
    first, second = json.loads(lines[0]), json.loads(lines[1].removeprefix("[1] "))
    assert lines[1].startswith("[1] ")
    addresses = first["cluster"]["worker"]
    assert second["cluster"]["worker"] == addresses
    assert len(set(addresses)) == 2
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    assert [each["task"] for each in (first, second)] == [{"type": "worker", "index": index} for index in (0, 1)]
    for each in (first, second):
        assert each["KERASDL_STRATEGY"] == "multi_worker"
        assert each["no_grpc_proxy"] == "127.0.0.1"
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= 2:
        assert not set(first["cores"]) & set(second["cores"])
        assert first["cores"] + second["cores"] == cores
    for each in (first, second):
        assert each["OMP_NUM_THREADS"] == each["TF_NUM_INTRAOP_THREADS"] == str(len(each["cores"]))


def test_what_the_user_chose_stays():
    env = {"OMP_NUM_THREADS": "7", "no_proxy": "example.org", "CUDA_VISIBLE_DEVICES": "3,5"}
    done = launched(TELL, env=env, workers=1, pin=False)
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["OMP_NUM_THREADS"], told["TF_NUM_INTRAOP_THREADS"]) == ("7", None)
    assert told["cores"] == sorted(os.sched_getaffinity(0))
    assert told["no_grpc_proxy"] == "example.org,127.0.0.1"
    assert told["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_shares_are_even():
    cut = local_workers.shares_of
    assert [share.cores for share in cut(3, range(7), None)] == [(0, 1), (2, 3), (4, 5, 6)]
    assert [share.cores for share in cut(3, [4, 9], None)] == [(4,), (4,), (9,)]
    assert [share.gpus for share in cut(2, None, ["0", "1", "2", "3"])] == [("0", "1"), ("2", "3")]
    assert cut(2, None, []) == [local_workers.Share(None, None)] * 2
    with pytest.raises(ArgumentError, match="workers must be at most 1, the number of GPUs; got 2"):
        cut(2, None, ["0"])


def test_ports_are_free_and_differ():
    ports = local_workers.free_ports(50)
    assert len(set(ports)) == 50
    assert set(ports) <= set(local_workers.PORTS)


REFUSED = f"""{WHO}
import atexit
from kerasdl.core.errors import ArgumentError
atexit.register(time.sleep, 3)  # the launcher ends the others once one has ended
raise ArgumentError(f"the rule; got {{me * differ}}.")
"""


@pytest.mark.parametrize("differ", [False, True])
def test_a_refusal_is_said_once_and_two_are_both_said(differ):
    done = launched(f"differ = {int(differ)}\n" + REFUSED, workers=2)
    assert done.returncode == 1
    said = [line.removeprefix("[1] ") for line in done.stderr.splitlines() if "ArgumentError: the rule" in line]
    assert sorted(said) == [f"kerasdl.core.errors.ArgumentError: the rule; got {each}." for each in range(1 + differ)]
    alone = subprocess.run(
        [sys.executable, "-c", "from kerasdl.core.errors import ArgumentError\nraise ArgumentError('the rule')"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "ArgumentError: the rule" in alone.stderr


def test_lines_of_the_others_bear_their_number():
    # Each line in one write: an unbuffered print is several, and what the first worker says is not copied.
    lines = "sys.stdout.write(f'out {me}\\n'); sys.stderr.write(f'err {me}\\n'); sys.stdout.write('no end' * me)"
    code = WHO + lines
    done = launched(code, workers=3)
    assert sorted(done.stdout.splitlines()) == sorted(
        ["out 0", "[1] out 1", "[1] no end", "[2] out 2", "[2] no endno end"]
    )
    assert sorted(done.stderr.splitlines()) == ["[1] err 1", "[2] err 2", "err 0"]


def test_a_killed_worker_starts_all_again_on_new_ports(tmp_path):
    """Worker 1 dies by SIGKILL once, worker 0 waits as in a collective operation: without an ear for SIGTERM."""
    code = WHO + (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "log = sys.argv[1] + f'/{me}'\n"
        "is_first_start = not os.path.exists(log)\n"
        "with open(log, 'a') as file: print(os.environ['TF_CONFIG'], file=file)\n"
        "while me == 1 and not os.path.exists(sys.argv[1] + '/0'): time.sleep(0.01)\n"
        "if is_first_start and me == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if is_first_start: time.sleep(60)\n"
    )
    done = launched(code, tmp_path, grace=0.3)
    assert done.returncode == 0
    starts = [[json.loads(line) for line in (tmp_path / str(index)).read_text().splitlines()] for index in (0, 1)]
    assert [len(each) for each in starts] == [2, 2]
    first, second = ({start["cluster"]["worker"][0] for start in pair} for pair in zip(*starts, strict=True))
    assert len(first) == len(second) == 1
    assert first != second
    assert re.fullmatch(r"launch: worker 1 was killed by SIGKILL after \d s; all 2 start again, 1 of 3.\n", done.stderr)


@pytest.mark.parametrize(
    ("end", "restarts", "code", "starts", "story"),
    [
        ("os.kill(os.getpid(), signal.SIGABRT)", 1, 134, 2, "all 1 restarts are used up"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 0, 137, 1, "was killed by SIGKILL after"),
        ("sys.exit(1)", 3, 1, 1, ", too early for a restart"),
        ("sys.exit(2)", 3, 2, 1, "starting again would end the same way"),
        ("sys.exit(5)", 3, 5, 1, "starting again would end the same way"),
        ("sys.exit(75)", 3, 75, 1, "worker 0 was preempted"),
    ],
)
def test_the_job_ends_as_the_worker_that_failed_first(tmp_path, end, restarts, code, starts, story):
    done = launched(WHO + f"open(sys.argv[1] + '/log', 'a').write('x')\n{end}", tmp_path, workers=1, restarts=restarts)
    assert done.returncode == code
    assert len((tmp_path / "log").read_text()) == starts
    assert story in done.stderr


def test_the_first_failure_counts_and_stops_the_others(tmp_path):
    code = WHO + (
        "open(sys.argv[1] + f'/pid{me}', 'w').write(str(os.getpid()))\n"
        "time.sleep(0.2)\n"
        "if me == 1: sys.exit(9)\n"
        "time.sleep(60)\n"
    )
    begun = time.monotonic()
    done = launched(code, tmp_path)
    assert done.returncode == 9
    assert time.monotonic() - begun < 20
    assert not any(map(lives, pids(tmp_path, 2)))


def test_a_late_failure_starts_again(tmp_path, monkeypatch, capfd):
    """The same exit code is taken for a passing trouble once the workers were up for a while."""
    monkeypatch.setattr(launching, "EARLY_SECONDS", 0.1)
    code = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(0.3); sys.exit(1)"
    ended = launching.launch([sys.executable, "-c", code, str(tmp_path / "log")], 1, restarts=1)
    assert (ended, (tmp_path / "log").read_text()) == (1, "xx")
    assert "all 1 start again, 1 of 1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "answer", "code"),
    [
        (signal.SIGTERM, "sys.exit(75)", 75),
        (signal.SIGINT, "sys.exit(75)", 75),
        (signal.SIGTERM, "sys.exit(0 if me else 75)", 75),
        (signal.SIGTERM, "sys.exit(0)", 0),
        (signal.SIGTERM, "sys.exit(3 if me else 75)", 3),
        (signal.SIGTERM, "pass", 137),
    ],
)
def test_a_signal_goes_to_all_workers_and_none_starts_again(tmp_path, number, answer, code):
    worker = WHO + (
        f"def end(*_):\n    time.sleep(0.1); open(sys.argv[1] + f'/heard{{me}}', 'w').close(); {answer}\n"
        f"signal.signal({int(number)}, end)\n"
        "open(sys.argv[1] + f'/pid{me}', 'w').write(str(os.getpid()))\n"
        "while True: time.sleep(0.01)\n"
    )
    process = started(worker, tmp_path, grace=1.0)
    workers = pids(tmp_path, 2)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert {path.name for path in tmp_path.glob("heard*")} == {"heard0", "heard1"}
    assert not any(map(lives, workers))


def test_one_preempted_worker_preempts_the_job(tmp_path):
    worker = WHO + (
        "signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1] + f'/saved{me}', 'w').close(), sys.exit(75)))\n"
        "open(sys.argv[1] + f'/pid{me}', 'w').write(str(os.getpid()))\n"
        "while True: time.sleep(0.01)\n"
    )
    process = started(worker, tmp_path)
    os.kill(pids(tmp_path, 2)[0], signal.SIGTERM)
    assert process.wait(timeout=30) == 75
    assert len(list(tmp_path.glob("saved*"))) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_launcher(tmp_path, number):
    """Neither the workers nor what they started, though all of them are deaf to SIGTERM."""
    worker = WHO + (
        "import subprocess\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(sys.argv[1] + f'/pid_child{me}', 'w').write(str(child.pid))\n"
        "open(sys.argv[1] + f'/pid{me}', 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    process = started(worker, tmp_path, grace=0.2)
    found = pids(tmp_path, 4)
    assert all(map(lives, found))
    process.send_signal(number)
    process.wait(timeout=20)
    wait_until(lambda: not any(map(lives, found)), "the end of all processes")


def test_a_signal_during_the_pause_ends_the_job(tmp_path):
    worker = WHO + "open(sys.argv[1] + '/log', 'a').write('x'); os.kill(os.getpid(), signal.SIGKILL)"
    process = started(worker, tmp_path, workers=1)
    assert "start again" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert (tmp_path / "log").read_text() == "x"


def test_without_workers_it_becomes_the_program():
    place = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    process = started(f"import os; print(os.getpid())\n{TELL}", env={"TF_CONFIG": json.dumps(place)}, workers=None)
    out, _ = process.communicate(timeout=30)
    pid, line = out.splitlines()
    told = json.loads(line)
    assert int(pid) == process.pid
    assert {name: told[name] for name in place} == place
    assert told["KERASDL_STRATEGY"] == "multi_worker"
    assert told["no_grpc_proxy"] == "a,b"


def test_a_task_of_srun_becomes_a_worker():
    env = {"SLURM_STEP_NODELIST": "n[9-10]", "SLURM_PROCID": "1", "SLURM_NODEID": "1", "SLURM_JOB_ID": "77"}
    told = json.loads(launched(TELL, env=env, workers=None).stdout)
    assert [address.partition(":")[0] for address in told["cluster"]["worker"]] == ["n9", "n10"]
    assert told["task"]["index"] == 1


@pytest.mark.parametrize(
    ("command", "settings", "error", "text"),
    [
        ([], {"workers": 2}, ArgumentError, "a command must follow"),
        (["true"], {"workers": 0}, ArgumentError, "workers must be an integer of 1 or more"),
        (["true"], {"workers": 1, "restarts": -1}, ArgumentError, "restarts must be an integer of 0 or more"),
        (["true"], {"workers": 1, "grace": -1}, ArgumentError, "grace must be a number from 0"),
        (["true"], {}, ArgumentError, "must name a cluster; got None. Pass --workers N"),
        (["not_a_program"], {"workers": 2}, DataError, "'not_a_program' cannot be run: No such file"),
    ],
)
def test_a_mistake_is_said_before_anything_runs(command, settings, error, text, monkeypatch):
    for name in ("TF_CONFIG", "KERASDL_WORKERS", "SLURM_STEP_NODELIST", "TPU_NAME", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(error, match=text):
        launching.launch(command, **settings)


def test_launching_loads_no_tensorflow():
    code = "import sys; import kerasdl.cli.launching; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


SUM = """
import os, sys, time
import kerasdl, tensorflow as tf
from kerasdl.core.startup import worker_startup
strategy = worker_startup.joined()
me = strategy.cluster_resolver.task_id

@tf.function
def total():
    return strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(10.0**me)))

for step in range(200):
    found = float(strategy.experimental_local_results(total())[0])
    marker = os.path.join(sys.argv[1], "died")
    if step == 20 and me == int(sys.argv[2]) and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), 9)
    time.sleep(0.005)
sys.stdout.write(f"sum {found}\\n")  # in one piece: an unbuffered print is several
"""


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1, 9])
def test_two_workers_of_tensorflow_add_up_and_survive(tmp_path, dies):
    """Each has 10 to the power of its number; 9 kills nobody."""
    process = started(SUM, tmp_path, dies, env={"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"})
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert sorted(out.splitlines()) == ["[1] sum 11.0", "sum 11.0"]
    told = [line for line in err.splitlines() if line.startswith("launch:")]
    assert len(told) == (dies != 9)
    assert all(f"worker {dies} was killed by SIGKILL" in line for line in told)
