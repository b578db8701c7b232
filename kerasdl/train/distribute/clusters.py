"""Cluster of workers, read from the environment that a scheduler sets for each process; needs no TensorFlow.

TensorFlow's own resolvers are not used where they fail: `SlurmClusterResolver` divides by the number of GPUs (none on a
CPU node), sorts hosts by name so that node10 gets the rank of node9, and reads only one pair of brackets in a name;
`KubernetesClusterResolver` needs the kubernetes package and the right to list pods, and does not know its own index.
The result is written as TF_CONFIG, which `TFConfigClusterResolver` reads.
"""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasdl.core import checks
from kerasdl.core.startup.worker_startup import MULTI_WORKER, VARIABLE

PORT = 2222
NO_PROXY = "no_grpc_proxy"
MOST_HOSTS = 1_000_000
# Below the ports that systems hand out for outgoing connections. Jobs that share a node have similar numbers, and
# each gets its own ports for 16 tasks on a node.
JOB_PORTS = range(10_000, 30_000, 16)
REFUSED_TASKS = {
    "ps": "Parameter servers do not train Keras 3 models. List every process as a worker.",
    "evaluator": "The workers evaluate together. Leave the evaluator out.",
}


@dataclass(frozen=True)
class Cluster:
    """Addresses of the workers of a cluster, and the index of this process.

    Example:
        >>> Cluster(("10.0.0.1:2222", "10.0.0.2:2222"), 1).size
        2
    """

    addresses: tuple[str, ...]
    """`host:port` of each worker; the first is the chief."""
    index: int
    """Index of this process among them."""

    @property
    def size(self) -> int:
        """Number of workers."""
        return len(self.addresses)

    def tf_config(self) -> str:
        """Returns the text of TF_CONFIG for TensorFlow.

        Example:
            >>> Cluster(("10.0.0.1:2222",), 0).tf_config()
            '{"cluster": {"worker": ["10.0.0.1:2222"]}, "task": {"type": "worker", "index": 0}}'
        """
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def scheduler_of(environ: Mapping[str, str]) -> str | None:
    """Returns the scheduler of this process: `"tf_config"`, `"kubernetes"`, `"slurm"`, `"tpu"`, or None.

    TF_CONFIG comes first, since it is set on purpose.

    Args:
        environ: the environment of the process, such as `os.environ`.

    Example:
        >>> scheduler_of({"SLURM_STEP_NODELIST": "gpu[01-02]", "SLURM_PROCID": "0"})
        'slurm'
    """
    if _tf_config(environ):
        return "tf_config"
    if "KERASDL_WORKERS" in environ:
        return "kubernetes"
    # A batch script also has SLURM_JOB_NODELIST and a PROCID of 0, but is a single process: only srun starts a step.
    if "SLURM_STEP_NODELIST" in environ and "SLURM_PROCID" in environ:
        return "slurm"
    if environ.get("TPU_NAME") or environ.get("TPU_WORKER_HOSTNAMES"):
        return "tpu"
    return None


def cluster_from(environ: Mapping[str, str]) -> Cluster | None:
    """Returns the cluster in the environment; None where there is none, or a TPU.

    Args:
        environ: the environment of the process, such as `os.environ`: TF_CONFIG; or KERASDL_WORKERS,
            KERASDL_SERVICE, JOB_COMPLETION_INDEX and HOSTNAME in a Kubernetes indexed Job; or what `srun` sets.
            KERASDL_PORT chooses the (first) port.

    Raises:
        ArgumentError: the environment contradicts itself, or names tasks that are not workers.

    Example:
        >>> cluster_from({"SLURM_STEP_NODELIST": "gpu[1-2]", "SLURM_PROCID": "1", "KERASDL_PORT": "5000"}).addresses
        ('gpu1:5000', 'gpu2:5000')
    """
    scheduler = scheduler_of(environ)
    known = {"tf_config": _from_tf_config, "kubernetes": _from_kubernetes, "slurm": _from_slurm}
    return known[scheduler](environ) if scheduler in known else None


def environment_of(cluster: Cluster, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the additional environment variables for a process of the cluster.

    These are TF_CONFIG (unchanged where it is set), the variable that lets `import kerasdl` join the other workers,
    and a list of hosts reached without a proxy: gRPC sends even loopback through `http_proxy`, and workers behind a
    proxy wait for each other forever.

    Args:
        cluster: the workers.
        environ: the environment of the process.

    Example:
        >>> sorted(environment_of(Cluster(("10.0.0.1:2222",), 0), {}))
        ['KERASDL_STRATEGY', 'TF_CONFIG', 'no_grpc_proxy']
    """
    return {
        "TF_CONFIG": cluster.tf_config() if _tf_config(environ) is None else environ["TF_CONFIG"],
        VARIABLE: MULTI_WORKER,
        NO_PROXY: outside_proxy(cluster.addresses, environ),
    }


def outside_proxy(addresses: Sequence[str], environ: Mapping[str, str]) -> str:
    """Returns the value of no_grpc_proxy with which gRPC reaches the hosts of these addresses without a proxy."""
    excepted = environ.get(NO_PROXY) or environ.get("no_proxy") or ""
    hosts = [address.rpartition(":")[0].strip("[]") for address in addresses]
    return ",".join(dict.fromkeys(filter(None, [*excepted.split(","), *hosts])))


def expand_hosts(text: str) -> list[str]:
    """Returns the host names in a SLURM node list, in its order.

    Args:
        text: a node list such as `"gpu[001-003,7],rack[0-1]n[2,4],login1"`.

    Raises:
        ArgumentError: a bracket or a range is wrong, or there are more than a million names.

    Example:
        >>> expand_hosts("gpu[08-10,3],login1")
        ['gpu08', 'gpu09', 'gpu10', 'gpu3', 'login1']
    """
    rule = "a SLURM node list must read like gpu[01-04,7],login1"
    if not re.fullmatch(r"(?:[^\[\],\s]|\[[0-9,\-]+\])+(?:,(?:[^\[\],\s]|\[[0-9,\-]+\])+)*", text):
        checks.refuse(rule, text)
    hosts: list[str] = []
    for name in re.findall(r"(?:[^\[\],]|\[[^\]]*\])+", text):
        pieces = re.split(r"(\[[^\]]*\])", name)
        choices = [_numbers(piece[1:-1], rule) if piece.startswith("[") else [piece] for piece in pieces]
        hosts += map("".join, itertools.islice(itertools.product(*choices), MOST_HOSTS + 1))
        if len(hosts) > MOST_HOSTS:
            checks.refuse(f"a SLURM node list must hold at most {MOST_HOSTS} names", text)
    return hosts


def _numbers(text: str, rule: str) -> list[str]:
    """Returns the numbers between two brackets; a range has as many digits as its first number."""
    numbers: list[str] = []
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(ends):
            checks.refuse(rule, f"[{text}]")
        first, last = int(ends[0]), int(ends[-1])
        if last < first or last - first >= MOST_HOSTS:
            checks.refuse(rule, f"[{text}]", "A range goes up, over a million numbers at most.")
        numbers += [str(number).zfill(len(ends[0])) for number in range(first, last + 1)]
    return numbers


def _tasks_per_node(text: str) -> list[int]:
    rule = "SLURM_STEP_TASKS_PER_NODE must read like 2(x3),1"
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:\(x(\d{1,6})\))?", part)
        if match is None:
            checks.refuse(rule, text)
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _from_slurm(environ: Mapping[str, str]) -> Cluster:
    hosts = expand_hosts(environ["SLURM_STEP_NODELIST"])
    counts = _tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE", f"1(x{len(hosts)})"))
    rule = "SLURM must give each node its number of tasks"
    if len(counts) != len(hosts):
        checks.refuse(rule, {name: environ.get(name) for name in ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")})
    first = _slurm_port(environ)
    if first + max(counts) > 65_536:
        checks.refuse(f"KERASDL_PORT must leave room for {max(counts)} tasks a node below 65536", first)
    addresses = [f"{host}:{first + local}" for host, count in zip(hosts, counts, strict=True) for local in range(count)]
    cluster = _cluster_at(addresses, environ["SLURM_PROCID"], "SLURM_PROCID")
    _check_order(environ, cluster, counts)
    return cluster


def _slurm_port(environ: Mapping[str, str]) -> int:
    if "KERASDL_PORT" in environ:
        return _port(environ["KERASDL_PORT"])
    job, step = (_whole(name, environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    # Simultaneous steps of one job get different ports by a stride without common divisor.
    return JOB_PORTS[(job + 611 * step) % len(JOB_PORTS)]


def _check_order(environ: Mapping[str, str], cluster: Cluster, counts: Sequence[int]) -> None:
    """Refuses a distribution in which a task runs on another node than its number says."""
    if "SLURM_NODEID" not in environ:
        return
    node = _whole("SLURM_NODEID", environ["SLURM_NODEID"])
    expected = next(place for place, total in enumerate(itertools.accumulate(counts)) if cluster.index < total)
    if node != expected:
        rule = f"task {cluster.index} must run on node {expected} of the step"
        checks.refuse(rule, f"node {node}", "Run srun with --distribution=block.")


def _from_kubernetes(environ: Mapping[str, str]) -> Cluster:
    index = environ.get("JOB_COMPLETION_INDEX")
    if index is None:
        advice = "Give the Job completionMode: Indexed, or unset KERASDL_WORKERS outside Kubernetes."
        checks.refuse("KERASDL_WORKERS needs JOB_COMPLETION_INDEX beside it", None, advice)
    workers = _whole("KERASDL_WORKERS", environ["KERASDL_WORKERS"])
    job = environ.get("KERASDL_JOB") or environ.get("HOSTNAME", "").partition(".")[0].removesuffix(f"-{index}")
    service = environ.get("KERASDL_SERVICE")
    if not job or not service:
        names = {"KERASDL_SERVICE": service, "KERASDL_JOB": job or None}
        advice = "Set both: the headless Service is the pods' subdomain. See docs/scaling.md."
        checks.refuse("pods find each other as JOB-INDEX.SERVICE, so both names must be known", names, advice)
    port = _port(environ.get("KERASDL_PORT", str(PORT)))
    return _cluster_at([f"{job}-{worker}.{service}:{port}" for worker in range(workers)], index, "JOB_COMPLETION_INDEX")


def _from_tf_config(environ: Mapping[str, str]) -> Cluster:
    config = _tf_config(environ)
    jobs, task = config["cluster"], config.get("task", {})
    for kind in (*jobs, task.get("type")):
        if kind in REFUSED_TASKS:
            checks.refuse(
                "TF_CONFIG must name workers alone, the first of them perhaps as chief", kind, REFUSED_TASKS[kind]
            )
    unknown = set(jobs) - {"chief", "worker"}
    if unknown or not all(isinstance(each, list) and all(isinstance(a, str) for a in each) for each in jobs.values()):
        checks.refuse("TF_CONFIG's cluster must list host:port strings under worker (and chief)", jobs)
    chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
    if len(chiefs) > 1:
        checks.refuse("TF_CONFIG must name one chief at most", chiefs)
    if task.get("type") not in jobs:
        checks.refuse(f"TF_CONFIG's task must be of a type in its cluster, {tuple(jobs)}", task)
    own = jobs[task["type"]]
    index = _whole("TF_CONFIG's task index", task.get("index", ""))
    if index >= len(own):
        checks.refuse(f"TF_CONFIG's task index must be below {len(own)}, the number of its type", index)
    return Cluster((*chiefs, *workers), index + (len(chiefs) if task["type"] == "worker" else 0))


def _tf_config(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns TF_CONFIG as a dict; None where it is absent or has no cluster, as for single jobs on some platforms."""
    text = environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    example = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    rule = f"TF_CONFIG must be JSON like {example}"
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        checks.refuse(rule, text, f"Reading it failed: {error}.")
    if not isinstance(config, dict):
        checks.refuse(rule, text)
    parts = [config.get("cluster", {}), config.get("task", {})]
    if not all(isinstance(part, dict) for part in parts):
        checks.refuse(rule, text)
    return config if parts[0] else None


def _cluster_at(addresses: Sequence[str], index: str, name: str) -> Cluster:
    position = _whole(name, index)
    if position >= len(addresses):
        checks.refuse(f"{name} must be below {len(addresses)}, the number of workers", position)
    return Cluster(tuple(addresses), position)


def _whole(name: str, text: Any) -> int:
    if isinstance(text, bool) or not re.fullmatch(r"[0-9]{1,12}", str(text)):
        checks.refuse(f"{name} must be a whole number of 0 or more", text)
    return int(text)


def _port(text: str) -> int:
    return int(checks.within("KERASDL_PORT", _whole("KERASDL_PORT", text), 1, 65_535))
