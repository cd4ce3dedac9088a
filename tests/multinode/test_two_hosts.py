"""Trainings on two hosts: network namespaces with an sshd and an address each (tests/multinode/run.sh)."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.multinode.two_hosts import HOSTS, Project, Training, left_running, mounted, on

pytestmark = [
    pytest.mark.multinode,
    pytest.mark.skipif("MULTINODE" not in os.environ, reason="two hosts are there inside tests/multinode/run.sh only"),
    pytest.mark.timeout(900),
]
BY_SSH = {"HOSTFILE": "hosts"}
MEETING = {"RENDEZVOUS": "worker-1:29411", "NODES": "2", "PROCESSES": "1"}
SECONDS = 30.0  # a silent host is lost after 20
MOST_WAIT = 700  # torchrun waits ten minutes for the other machines


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def ends_after_a_loss(training: Training) -> None:
    """The run ends soon with one line, on both hosts."""
    since = time.monotonic()
    assert training.finish() != 0
    assert time.monotonic() - since < SECONDS
    lines = [line for line in training.said().splitlines() if "is lost; start the same command again" in line]
    assert len(lines) == 1, training.said()
    assert "Traceback" not in training.said()
    until_nothing_runs()


def until_nothing_runs() -> None:
    end = time.monotonic() + SECONDS
    while running := left_running():
        assert time.monotonic() < end, running
        time.sleep(0.5)


def goes_on(training: Training, step: int) -> None:
    """The run takes the checkpoint of that step and ends well."""
    assert training.finish() == 0, training.said()
    assert re.search(rf"resuming from \S+/checkpoint-{step}\b", training.said())


def test_a_killed_process_on_one_host_ends_the_other_and_the_run_goes_on_under_zero_2(project: Project) -> None:
    project.set({"deepspeed": 2})
    training = project.start("sft", **BY_SSH)
    project.until_checkpoint("sft", 2, training)
    on("worker-2", "pkill -KILL -f stages.sft")
    ends_after_a_loss(training)
    goes_on(project.start("sft", **BY_SSH), 2)
    assert (project.folder / "models" / "sft" / "model.safetensors").exists()


def test_a_host_that_falls_silent_ends_the_other_and_the_run_goes_on_under_zero_3(project: Project) -> None:
    project.set({"deepspeed": 3})
    training = project.start("tgrpo", **BY_SSH)
    project.until_checkpoint("tgrpo", 2, training)
    subprocess.run(["ip", "link", "set", "eth0", "down"], check=True)
    try:
        assert training.finish(SECONDS) != 0
    finally:
        subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
    ends_after_a_loss(training)
    goes_on(project.start("tgrpo", **BY_SSH), 2)


def test_hosts_without_ssh_meet_and_a_killed_process_ends_both(project: Project) -> None:
    project.set({"deepspeed": 2, "seed": 1})

    def start() -> tuple[Training, subprocess.Popen[str]]:
        variables = " ".join(f"{name}={value}" for name, value in MEETING.items())
        other = f"cd {project.folder} && {variables} {sys.executable} -m stages.launch sft"
        joined = subprocess.Popen(["ssh", "worker-2", other], stderr=subprocess.PIPE, text=True)
        return project.start("sft", **MEETING), joined

    training, joined = start()
    project.until_checkpoint("sft", 2, training)
    on("worker-2", "pkill -KILL -f -- '-m stages.sft'")
    ends_after_a_loss(training)
    assert joined.wait(SECONDS) != 0
    training, joined = start()
    project.until_checkpoint("sft", 4, training)
    ends_with(training, signal.SIGTERM)
    assert joined.wait(SECONDS) != 0
    training, joined = start()
    goes_on(training, 4)
    assert joined.wait(SECONDS) == 0


def ends_with(training: Training, sent: signal.Signals) -> None:
    """Ctrl-C goes to the whole group of processes, as in a terminal; another signal to DVC alone."""
    (os.killpg if sent == signal.SIGINT else os.kill)(training.process.pid, sent)
    assert training.finish(SECONDS) != 0
    until_nothing_runs()
    assert "Traceback" not in training.said(), training.said()


def test_ctrl_c_and_the_end_of_dvc_leave_nothing_running_and_the_run_goes_on(project: Project) -> None:
    project.set({"deepspeed": 2, "seed": 2})
    training = project.start("sft", **BY_SSH)
    project.until_checkpoint("sft", 2, training)
    ends_with(training, signal.SIGINT)
    training = project.start("sft", **BY_SSH)
    project.until_checkpoint("sft", 4, training)
    ends_with(training, signal.SIGTERM)
    goes_on(project.start("sft", **BY_SSH), 4)


def refused(project: Project, stage: str = "sft", **environment: str) -> str:
    """The one line with which the run ends."""
    training = project.start(stage, **(environment or BY_SSH))
    assert training.finish(MOST_WAIT) != 0
    assert "Traceback" not in training.said(), training.said()
    lines = [line for line in training.said().splitlines() if re.match(r"(worker-\d: )?(launch|sft|tgrpo): ", line)]
    assert len(lines) == 1, training.said()
    until_nothing_runs()
    return lines[0]


def test_a_host_where_the_project_is_not_or_that_does_not_answer_is_named(project: Project) -> None:
    empty = project.folder / "empty"
    empty.mkdir()
    with mounted("worker-2", empty, project.folder / "stages"):
        assert f"worker-2: the project is not at {project.folder}" in refused(project)
    (project.folder / "more").write_text("worker-1 slots=1\nworker-3 slots=1\n")
    assert "worker-3: ssh does not reach it without a password" in refused(project, HOSTFILE="more")


def test_a_host_without_the_environment_or_with_other_packages_is_named(project: Project) -> None:
    empty, python = project.folder / "no-environment", Path(sys.executable)
    empty.mkdir()
    with mounted("worker-2", empty, python.parent):
        assert f"worker-2: there is no {python}; install" in refused(project)
    (metadata,) = Path(sysconfig.get_path("purelib")).glob("peft-*.dist-info/METADATA")
    other = project.folder / "METADATA"
    other.write_text(re.sub(r"\nVersion: .*", "\nVersion: 0.99.0", metadata.read_text(), count=1))
    with mounted("worker-2", other, metadata):
        assert "worker-2 and worker-1 have other versions of peft: bring both" in refused(project)


def test_a_machine_that_never_comes_ends_the_wait_after_ten_minutes(project: Project) -> None:
    assert "launch: not all machines met" in refused(project, **MEETING)


def test_a_host_with_other_code_or_other_data_is_named(project: Project) -> None:
    other = project.folder / "other.py"
    other.write_text((project.folder / "stages" / "sft.py").read_text() + "# an older commit\n")
    with mounted("worker-2", other, project.folder / "stages" / "sft.py"):
        assert "worker-2 and worker-1 have other versions of stages/sft.py: bring both" in refused(project)
    params = project.folder / "params.yaml"
    (project.folder / "other.yaml").write_text(
        params.read_text().replace("learning_rate: 1.5e-3", "learning_rate: 2e-3")
    )
    with mounted("worker-2", project.folder / "other.yaml", params):
        assert "worker-2: parameters or inputs (params.yaml, " in refused(project)


def test_a_file_that_one_host_lacks_and_a_work_folder_of_its_own_are_named(project: Project) -> None:
    empty = project.folder / "nothing"
    empty.mkdir()
    with mounted("worker-2", empty, project.folder / "models" / "base"):
        assert re.search("worker-2: .*models/base", refused(project))
    with mounted("worker-2", empty, project.folder / ".work"):
        assert "share the folder between the hosts" in refused(project)


def test_resume_and_fresh_reach_the_other_host(project: Project) -> None:
    project.set({"deepspeed": 2, "seed": 3})
    training = project.start("sft", **BY_SSH)
    project.until_checkpoint("sft", 2, training)
    on("worker-2", "pkill -KILL -f stages.sft")
    ends_after_a_loss(training)
    file = project.folder / "stages" / "model" / "training.py"
    file.write_text(file.read_text() + "# a typo fixed\n")
    assert "/0 holds an unfinished run, and its code has changed since: stages/model/training.py" in refused(project)
    training = project.start("sft", **BY_SSH, FRESH="1")
    project.until_checkpoint("sft", 2, training)
    assert "resuming" not in training.said()
    ends_with(training, signal.SIGTERM)
    file.write_text(file.read_text() + "# and another one\n")
    assert "/1 holds an unfinished run" in refused(project)
    goes_on(project.start("sft", **BY_SSH, RESUME="1"), 2)


def test_both_hosts_see_one_project() -> None:
    assert [on(host, f"hostname; test -d {ROOT} && echo there").split() for host in HOSTS] == [
        [host, "there"] for host in HOSTS
    ]


@pytest.mark.skipif(shutil.which("slurmctld") is None, reason="needs slurm-wlm and munge")
def test_the_documented_slurm_job_trains_on_both_nodes(project: Project) -> None:
    project.set({"deepspeed": 2, "seed": 4})
    shared = Path(os.environ["MULTINODE"]) / "slurm"
    for host in HOSTS:
        on(host, f"{ROOT}/tests/multinode/slurm.sh {shared}")
    (script,) = re.findall(r"```bash\n(#!.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    bin_folder = Path(sys.executable).parent
    script = script.replace("#SBATCH --gpus-per-node=8\n", "").replace(
        "source .venv/bin/activate\ndvc repro\n", f"export PATH={bin_folder}:$PATH\ndvc repro --single-item sft\n"
    )
    (project.folder / "job.sh").write_text(script)
    earlier = set(project.folder.glob(".work/sft/*"))
    environment = os.environ | {"SLURM_CONF": str(shared / "slurm.conf")}
    done = subprocess.run(
        ["sbatch", "--wait", "--output=job.log", "job.sh"], cwd=project.folder, env=environment, timeout=600
    )
    said = (project.folder / "job.log").read_text()
    assert done.returncode == 0, said
    assert "step 6/6" in said
    (work,) = set(project.folder.glob(".work/sft/*")) - earlier
    assert len(list(work.glob("0/checkpoint-6/rng_state_*.pth"))) == 2
