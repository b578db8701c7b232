"""Clusters: TF_CONFIG, SLURM, Kubernetes and TPU environments, against TensorFlow's own resolvers."""

import json

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kerasdl.core.errors import ArgumentError
from kerasdl.train.distribute import clusters
from kerasdl.train.distribute.clusters import Cluster, cluster_from, expand_hosts, scheduler_of

SLURM = {"SLURM_STEP_NODELIST": "n[9-10]", "SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_PROCID": "2", "SLURM_NODEID": "1"}
PODS = {"KERASDL_WORKERS": "3", "KERASDL_SERVICE": "peers", "JOB_COMPLETION_INDEX": "1", "HOSTNAME": "digits-1"}


def config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_what_is_written_tensorflow_reads(monkeypatch):
    cluster = Cluster(("a:1", "b:2", "c:3"), 1)
    monkeypatch.setenv("TF_CONFIG", cluster.tf_config())
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    assert resolver.cluster_spec().as_dict() == {"worker": ["a:1", "b:2", "c:3"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)
    assert cluster_from({"TF_CONFIG": cluster.tf_config()}) == cluster


def test_a_chief_comes_first():
    jobs = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    assert cluster_from(config(jobs, "chief")) == Cluster(("a:1", "b:1", "c:1"), 0)
    assert cluster_from(config(jobs, "worker", 1)) == Cluster(("a:1", "b:1", "c:1"), 2)


@pytest.mark.parametrize("text", ["", " ", "{}", '{"task": {"type": "worker", "index": 0}}', '{"cluster": {}}'])
def test_a_tf_config_without_cluster_is_none(text):
    assert scheduler_of({"TF_CONFIG": text}) is None
    assert cluster_from({"TF_CONFIG": text}) is None


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"TF_CONFIG": "{cluster"}, "TF_CONFIG must be JSON like .*Reading it failed"),
        ({"TF_CONFIG": "[1]"}, "TF_CONFIG must be JSON like"),
        ({"TF_CONFIG": '{"cluster": 3}'}, "TF_CONFIG must be JSON like"),
        (config({"worker": ["a:1"], "ps": ["b:1"]}), "got 'ps'. Parameter servers do not train Keras 3"),
        (config({"worker": ["a:1"]}, "evaluator"), "got 'evaluator'. The workers evaluate together"),
        (config({"worker": "a:1"}), "must list host:port strings"),
        (config({"master": ["a:1"]}), "must list host:port strings"),
        (config({"chief": ["a:1", "b:1"]}, "chief"), "one chief at most"),
        (config({"worker": ["a:1"]}, "chief"), "must be of a type in its cluster"),
        (config({"worker": ["a:1"]}, "worker", 1), "index must be below 1"),
        (config({"worker": ["a:1"]}, "worker", True), "must be a whole number"),
        (config({"worker": ["a:1"]}, "worker", -1), "must be a whole number"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "must be of a type in its cluster"),
        ({**SLURM, "SLURM_PROCID": "3"}, "SLURM_PROCID must be below 3"),
        ({**SLURM, "SLURM_PROCID": "x"}, "SLURM_PROCID must be a whole number"),
        (
            {**SLURM, "SLURM_NODEID": "0"},
            "task 2 must run on node 1 of the step; got 'node 0'. Run srun with --distrib",
        ),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2"}, "each node its number of tasks"),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2(3)"}, "must read like 2"),
        ({**SLURM, "KERASDL_PORT": "65535"}, "KERASDL_PORT must leave room for 2 tasks"),
        ({**SLURM, "KERASDL_PORT": "0"}, "KERASDL_PORT must be a number from 1"),
        ({**PODS, "JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETION_INDEX must be below 3"),
        ({"KERASDL_WORKERS": "3"}, "completionMode: Indexed"),
        ({**PODS, "KERASDL_SERVICE": ""}, "JOB-INDEX.SERVICE"),
        ({**PODS, "HOSTNAME": ""}, "JOB-INDEX.SERVICE"),
        ({**PODS, "KERASDL_WORKERS": "many"}, "KERASDL_WORKERS must be a whole number"),
    ],
)
def test_an_environment_that_is_wrong_is_refused(environ, text):
    with pytest.raises(ArgumentError, match=text):
        cluster_from(environ)


def test_nothing_names_no_cluster():
    assert scheduler_of({}) is None
    assert cluster_from({"HOME": "/root"}) is None


def test_a_batch_script_of_slurm_is_no_worker():
    """It has a rank of 0 and the nodes of the job, but runs once; only srun starts the tasks."""
    assert cluster_from({"SLURM_JOB_NODELIST": "n[1-4]", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None


def test_a_tpu_is_told():
    assert scheduler_of({"TPU_NAME": "local"}) == "tpu"
    assert scheduler_of({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}) == "tpu"
    assert cluster_from({"TPU_NAME": "local"}) is None


def test_tf_config_is_meant_where_several_speak():
    environ = {**SLURM, **PODS, "TPU_NAME": "local", **config({"worker": ["a:1"]})}
    assert scheduler_of(environ) == "tf_config"
    assert cluster_from(environ) == Cluster(("a:1",), 0)


def test_pods_of_an_indexed_job():
    names = ("digits-0.peers:2222", "digits-1.peers:2222", "digits-2.peers:2222")
    assert cluster_from(PODS) == Cluster(names, 1)
    moved = cluster_from({**PODS, "HOSTNAME": "else", "KERASDL_JOB": "other", "KERASDL_PORT": "9"})
    assert moved.addresses == ("other-0.peers:9", "other-1.peers:9", "other-2.peers:9")


def test_tasks_of_slurm():
    cluster = cluster_from({**SLURM, "KERASDL_PORT": "5000"})
    assert cluster == Cluster(("n9:5000", "n9:5001", "n10:5000"), 2)


def test_jobs_that_share_a_node_have_ports_of_their_own():
    """Consecutive jobs, 16 tasks each, and the steps of one job."""

    def ports(job, step):
        environ = {"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_TASKS_PER_NODE": "16", "SLURM_PROCID": "0"}
        cluster = cluster_from({**environ, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})
        return {int(address.rpartition(":")[2]) for address in cluster.addresses}

    for pairs in ([(job, 0) for job in range(4_000, 4_200)], [(77, step) for step in range(50)]):
        taken = [ports(*pair) for pair in pairs]
        assert sum(map(len, taken)) == len(set().union(*taken))
        assert all(10_000 <= port < 32_768 for port in set().union(*taken))


@pytest.mark.parametrize("rank", range(5))
def test_tensorflows_slurm_resolver_agrees_where_it_works(rank, monkeypatch):
    """It needs GPUs, and hosts whose names sort as they stand."""
    environ = {"SLURM_STEP_NODELIST": "gpu[08-10]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "SLURM_PROCID": str(rank)}
    environ |= {"SLURM_STEP_NUM_TASKS": "5", "CUDA_VISIBLE_DEVICES": "0,1", "KERASDL_PORT": "8888"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(auto_set_gpu=False)
    ours = cluster_from(environ)
    assert resolver.cluster_spec().as_dict() == {"worker": list(ours.addresses)}
    assert resolver.get_task_info() == ("worker", ours.index)


def test_why_tensorflows_slurm_resolver_is_not_used(monkeypatch):
    """Fails if a later version does better: then use it."""
    environ = {**SLURM, "SLURM_STEP_NUM_TASKS": "3", "KERASDL_PORT": "8888"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="must not be zero"):  # no GPU on the node
        tf.distribute.cluster_resolver.SlurmClusterResolver(gpus_per_node=0).cluster_spec()
    sorted_by_name = tf.distribute.cluster_resolver.SlurmClusterResolver(gpus_per_node=2, auto_set_gpu=False)
    assert sorted_by_name.cluster_spec().as_dict()["worker"][2] == "n9:8889"  # task 2 runs on n10
    assert cluster_from(environ).addresses[2] == "n10:8888"


NAMES = st.from_regex(r"[a-z][a-z0-9.\-]{0,5}", fullmatch=True)
SUFFIXES = st.from_regex(r"([a-z][a-z0-9\-]{0,3})?", fullmatch=True)
RANGES = st.tuples(st.integers(0, 999), st.integers(0, 12), st.integers(1, 5))


def written(ranges):
    return ",".join(
        f"{first:0{width}d}" if not more else f"{first:0{width}d}-{first + more:0{width}d}"
        for first, more, width in ranges
    )


@st.composite
def host_lists(draw):
    """Gives the text of a list, and its names by plain loops over the drawn numbers, without any parsing."""
    texts, hosts = [], []
    for _ in range(draw(st.integers(1, 4))):
        stem, middle, end = draw(NAMES), draw(SUFFIXES), draw(SUFFIXES)
        outer = draw(st.lists(RANGES, max_size=3))
        inner = draw(st.lists(RANGES, max_size=2)) if outer else []
        rows = [f"{k:0{width}d}" for first, more, width in outer for k in range(first, first + more + 1)] or [""]
        columns = [f"{k:0{width}d}" for first, more, width in inner for k in range(first, first + more + 1)] or [""]
        brackets = [f"[{written(ranges)}]" if ranges else "" for ranges in (outer, inner)]
        texts.append(f"{stem}{brackets[0]}{middle}{brackets[1]}{end}")
        for row in rows:
            for column in columns:
                hosts.append(stem + row + middle + column + end)
    return ",".join(texts), hosts


@given(host_lists())
def test_node_lists_expand(drawn):
    text, hosts = drawn
    assert expand_hosts(text) == hosts


@given(st.lists(st.tuples(NAMES, st.lists(RANGES, max_size=3)), min_size=1, max_size=4))
def test_node_lists_expand_as_tensorflows_do(parts):
    """TensorFlow's reads one bracket, at the end of a name."""
    resolver = pytest.importorskip("tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver")
    text = ",".join(stem + (f"[{written(ranges)}]" if ranges else "") for stem, ranges in parts)
    assert expand_hosts(text) == resolver.expand_hostlist(text)


@pytest.mark.parametrize(
    "text",
    ["", ",", "a,", "a[", "a[]", "a[1", "a]1[", "a[1-]", "a[-1]", "a[1-2-3]", "a[1,,2]", "a[2-1]", "a b", "a[x]"],
)
def test_a_node_list_that_is_wrong_is_refused(text):
    with pytest.raises(ArgumentError, match="must read like gpu"):
        expand_hosts(text)


@pytest.mark.parametrize("text", ["a[0-99999999999]", "a[0-999]b[0-999]c[0-999]"])
def test_a_node_list_without_end_is_refused(text):
    with pytest.raises(ArgumentError, match=r"million|1000000"):
        expand_hosts(text)


def test_workers_are_excepted_from_the_proxy():
    found = clusters.environment_of(Cluster(("n1:1", "n1:2", "[::1]:3"), 0), {"no_proxy": "example.org"})
    assert found["no_grpc_proxy"] == "example.org,n1,::1"
    assert json.loads(found["TF_CONFIG"])["task"] == {"type": "worker", "index": 0}
    given = config({"chief": ["a:1"]}, "chief")
    assert clusters.environment_of(cluster_from(given), given)["TF_CONFIG"] == given["TF_CONFIG"]
