"""Several processes train one run as a single process does.

Run as a program this is one of two processes, see `work`.
"""

import functools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
import train_fakes
from jax.experimental import multihost_utils

from configs import cm_trace
from noisyjax import train
from noisyjax.core import rng
from noisyjax.data import pipeline, splits
from noisyjax.metrics import tabulate
from noisyjax.train import step, train_state
from noisyjax.train.devices import distributed, parallelism, signals
from noisyjax.train.evaluation import map_examples
from noisyjax.train.workdir import checkpoints, config_and_summary, metrics_log

ROOT = pathlib.Path(__file__).parents[3]
# 19 examples in batches of 4 are 5 steps: the last batch is padded, and of its two halves the
# second has one real example.
CHANGES = {
    "method": "mean",
    "data.panel": ("over", "under"),
    "data.max_train": 19,
    "train.batch_size": 4,
    "train.epochs": 10,
    "evaluate.every_epochs": 5,
    "evaluate.batch_size": 15,
    "checkpoint.every_epochs": 2,
}
STEPS = 50
# JAX takes a while to tell the processes of a signal; nothing but that saves a checkpoint before
# the end.
LONG = dict.fromkeys(("train.epochs", "evaluate.every_epochs", "checkpoint.every_epochs"), 500)
FAKE = {"train.batch_size": 4}
POISON = int(splits.split(22, seed=3, fractions=(0.72, 0.1, 0.18))["train"][3])
# A sum over eight devices is made in another order. Measured after 50 steps: parameters differ by
# 2e-7, metrics by 1e-6 of their value, values of cases by 6e-8.
CLOSE = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
CLOSE_AT_THE_END = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


def config():
    smoke = cm_trace.get_config("smoke").unlock()
    smoke.update_from_flattened_dict(CHANGES)
    return smoke.lock()


def gradients(index, count):
    """The gradients of 6 examples, 2 of them padding, and of this process's part the loss."""
    spread = parallelism.build("pmap")
    method = train_fakes.method(num_raters=2, num_classes=2)
    examples = train_fakes.load().examples
    batch = {n: np.stack([examples[i][n] for i in range(6)]) for n in examples[0]}
    batch |= {"weight": np.array([1, 1, 1, 1, 0, 0], np.float32), "epoch": np.zeros(6, np.int32)}
    share = 6 // count
    batch = {name: array[index * share : (index + 1) * share] for name, array in batch.items()}
    example = {name: array[:1] for name, array in batch.items()}
    state = train_state.create(method.init(rng.root_key(0), example), optax.sgd(1.0), ema=False)
    update = functools.partial(
        step.train_step,
        method=method,
        optimiser=optax.sgd(1.0),
        transform=lambda batch, key: batch,
        ema=0.0,
        axis_name=spread.axis_name,
    )
    before, key = spread.replicate(state), spread.replicate(rng.root_key(1))
    return jax.device_get(spread.step(update)(before, spread.put(batch), key))


def awkward(index):
    """What adding, comparing or the devices' types would not let through."""
    bits = np.array([-0.0, np.nan, np.pi, 1e-310]) if index == 0 else np.zeros(4)
    return {"float64": bits, "bool": np.array([index == 0, True]), "key": np.uint32(7 + index)}


def work(folder):
    """Writes what two processes come to, each its own part, and ends by SIGTERM to the second."""
    index = jax.process_index()
    parts = {"gradients": gradients(index, 2)[0].params}
    parts["sent"] = distributed.from_writer(awkward(index), awkward(1))
    nothing = distributed.from_writer(None, awkward(1))
    # Process 0 has the places 1 and 4, process 1 the others.
    places = np.array([[1, 4], [0, 2, 3]][index : index + 1][0])
    own = {"a": places * 0.1, "b": np.stack([places == 2, places > 2], axis=1)}
    parts["gathered"] = distributed.gather(own, places)
    parts["empty"] = distributed.gather({"a": np.arange(3.0 * index)})
    state, summary = train.train_and_evaluate(config(), folder / "run")
    parts["state"] = state
    leaves = map(np.asarray, jax.tree.leaves(jax.device_get(parts)))
    np.savez(folder / f"outputs{index}.npz", *leaves)
    (folder / f"structure{index}").write_text(str(jax.tree.structure(parts)))

    train_fakes.install(pytest.MonkeyPatch())
    told = {"alone": nothing is None, "writes": distributed.is_writer(), "summary": summary}
    try:
        poison = train_fakes.config(options={"poison": POISON}, **FAKE)
        train.train_and_evaluate(poison, folder / "poison")
    except FloatingPointError as error:
        told["poison"] = str(error)
    (folder / f"told{index}.json").write_text(json.dumps(told))
    if index:
        pipeline.train_batches = train_fakes.stop_at(3, signal.SIGTERM)
    train.train_and_evaluate(train_fakes.config(**FAKE | LONG), folder / "stopped")


def environment(devices):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/fakes")])
    return {**os.environ, "PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": str(devices)}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(arguments, output):
    with open(output, "w") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=ROOT, env=environment(4), stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip


def ended(group, seconds):
    """Waits for processes and returns their codes; none is left behind."""
    try:
        return [process.wait(timeout=max(seconds, 0.1)) for process in group]
    finally:
        for process in group:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with eight devices."""
    folder = tmp_path_factory.mktemp("alone")
    state, summary = train.train_and_evaluate(config(), folder)
    return folder, jax.device_get(state), summary


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The command in two processes, of which the second is killed; the first has yet to notice."""
    folder, port = tmp_path_factory.mktemp("killed"), free_port()
    flags = [f"--config.{name}={value}" for name, value in CHANGES.items()]
    command = ["-m", "noisyjax.cli.train", "--config=configs/cm_trace.py:smoke", *flags]
    command += [f"--workdir={folder / 'run'}", f"--coordinator=localhost:{port}"]
    group = [
        start([*command, "--num_processes=2", f"--process_id={i}"], folder / f"log{i}")
        for i in range(2)
    ]
    deadline = time.monotonic() + 200
    while not (folder / "run" / "checkpoints" / "10").exists():
        if time.monotonic() > deadline or group[0].poll() is not None:
            break
        time.sleep(0.01)
    group[1].kill()
    at = time.monotonic()
    yield folder, group, at
    ended(group, 0)


@pytest.fixture(scope="module")
def together(tmp_path_factory, killed):
    """Two processes with four devices each; meanwhile the one that is left of `killed` waits."""
    folder, port = tmp_path_factory.mktemp("together"), free_port()
    outputs = [folder / f"log{process}" for process in range(2)]
    group = [
        start([__file__, folder, port, process], output) for process, output in enumerate(outputs)
    ]
    codes = ended(group, 300)
    assert codes == [143, 143], "\n".join(output.read_text()[-4000:] for output in outputs)
    return folder


@pytest.fixture(scope="module")
def per_process(together, alone):
    """What each of the two has come to."""
    own = {"gradients": gradients(0, 1)[0].params, "sent": awkward(0), "gathered": {"a": 0, "b": 0}}
    like = {**own, "empty": {"a": 0}, "state": alone[1]}
    results = []
    for process in range(2):
        with np.load(together / f"outputs{process}.npz") as arrays:
            leaves = [arrays[f"arr_{position}"] for position in range(len(arrays.files))]
        results.append(jax.tree.unflatten(jax.tree.structure(like), leaves))
    return results


def test_gradients_of_a_padded_batch_are_those_of_one_process(per_process):
    expected = gradients(0, 1)[0].params
    for result in per_process:
        jax.tree.map(CLOSE, result["gradients"], expected)


def test_what_is_sent_arrives_to_the_bit(per_process, together):
    for process, result in enumerate(per_process):
        for name, array in awkward(0).items():
            assert result["sent"][name].dtype == array.dtype
            assert result["sent"][name].tobytes() == array.tobytes()
        np.testing.assert_array_equal(result["gathered"]["a"], np.arange(5) * 0.1)
        expected = [[False, False], [False, False], [True, False], [False, True], [False, True]]
        np.testing.assert_array_equal(result["gathered"]["b"], expected)
        np.testing.assert_array_equal(result["empty"]["a"], [0.0, 1.0, 2.0])
        told = json.loads((together / f"told{process}.json").read_text())
        assert told["alone"]
        assert told["writes"] == (process == 0)


def same_run(folder, expected):
    """Compares metrics and cases with those of another folder."""
    rows, others = (metrics_log.read_metrics(f / "metrics.jsonl") for f in (folder, expected))
    training = [row["step"] for row in rows if "train_loss" in row]
    assert training == list(range(1, STEPS + 1))
    assert [row.keys() for row in rows] == [row.keys() for row in others]
    for row, other in zip(rows, others, strict=True):
        for name in row.keys() - {"seconds", "train_images_per_second"}:
            CLOSE_AT_THE_END(np.float64(row[name]), np.float64(other[name]), err_msg=name)
    cases, others = (tabulate.read_rows(f / "test_cases.csv") for f in (folder, expected))
    assert [row[:3] for row in cases] == [row[:3] for row in others]
    CLOSE_AT_THE_END([row.value for row in cases], [row.value for row in others])


def test_a_run_of_two_processes_is_that_of_one(per_process, together, alone):
    folder, state, summary = alone
    for result in per_process:
        assert int(result["state"].step) == STEPS
        jax.tree.map(CLOSE_AT_THE_END, result["state"], state)
    same_run(together / "run", folder)
    assert {path.name for path in (together / "run").iterdir()} == {
        p.name for p in folder.iterdir()
    }
    for process in range(2):
        told = json.loads((together / f"told{process}.json").read_text())
        for name in summary.keys() - {"seconds_train", "seconds_compile"}:
            CLOSE_AT_THE_END(told["summary"][name], summary[name], err_msg=name)


def test_a_loss_that_is_not_finite_is_seen_by_both_at_the_same_step(together):
    told = [json.loads((together / f"told{process}.json").read_text()) for process in range(2)]
    assert told[0]["poison"] == told[1]["poison"]
    at, ids = told[0]["poison"].split("example ids [")
    ids = [int(i) for i in ids.partition("]")[0].split(",")]
    assert len(ids) == 4
    assert POISON in ids
    good = int(at.split("step ")[1].split(":")[0]) - 1
    assert checkpoints_of(together / "poison") == [good]


def checkpoints_of(folder):
    with checkpoints.Checkpoints(folder / "checkpoints", keep=2, read_only=True) as store:
        return store.steps()


def test_sigterm_to_one_saves_the_same_step_in_both(together):
    (step,) = checkpoints_of(together / "stopped")
    assert 3 <= step < 4 * LONG["train.epochs"]
    assert not (together / "stopped" / "summary.json").exists()


def test_a_killed_process_ends_the_other_and_the_run_goes_on_elsewhere(killed, alone, monkeypatch):
    folder, group, at = killed
    codes = ended(group, 60 - (time.monotonic() - at))
    told = (folder / "log0").read_text()
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, 143), told
    # Of the exchange that the death has broken off JAX raises an error, waits for a sign of life
    # and names the task, or aborts.
    named = "process 1 of 2 has died or does not answer"
    silent = "tasks are unhealthy (stopped sending heartbeats):\n1\n"
    assert named in told or silent in told or "gloo::EnforceNotMet" in told
    assert "running the same command again resumes" in told

    folder = folder / "run"
    assert 10 <= checkpoints_of(folder)[-1] < STEPS
    build = parallelism.build
    two = lambda kind, _, **options: build(kind, jax.devices()[:2], **options)  # noqa: E731
    monkeypatch.setattr(parallelism, "build", two)
    state, _ = train.train_and_evaluate(config(), folder)
    jax.tree.map(CLOSE_AT_THE_END, jax.device_get(state), alone[1])
    same_run(folder, alone[0])


SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "node1",
}  # fmt: skip
TPU = {"TPU_ML_PLATFORM": "JAX"}
JOB = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}


@pytest.mark.parametrize(
    ("environment", "method"),
    [
        ({}, None),
        # A batch script, a shell that Slurm has opened in the job, and tasks of srun.
        ({key: SLURM[key] for key in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID")}, None),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, None),
        (SLURM, None),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "2"}, "slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "1", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:9"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:9"}, "ompi"),
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}, "mpi4py"),
        # A pod by itself, and one of an indexed Job.
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
        (JOB, "k8s"),
        # One host of GKE, two, and a virtual machine.
        ({**TPU, **JOB, "TPU_WORKER_HOSTNAMES": "localhost", "TPU_SKIP_MDS_QUERY": "true"}, None),
        ({**TPU, **JOB, "TPU_WORKER_HOSTNAMES": "a,b", "TPU_SKIP_MDS_QUERY": "true"}, "gketpu"),
        ({**TPU, "TPU_PROCESS_ADDRESSES": "a", "MEGASCALE_NUM_SLICES": "2"}, "gketpu"),
        (TPU, "gcetpu"),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_SKIP_MDS_QUERY": "1"}, None),
    ],
)
def test_others_are_looked_for_only_where_there_are_some(environment, method, monkeypatch):
    assert distributed.detect(environment) == method
    for name in list(os.environ):
        if name.startswith(("SLURM", "OMPI", "KUBERNETES", "JOB_", "TPU")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: asked.append(options))
    distributed.connect(automatic=False)
    assert not asked
    distributed.connect()
    assert [options["cluster_detection_method"] for options in asked] == [method] * bool(method)


def test_methods_are_those_of_jax():
    from jax._src import clusters

    names = {each.name for each in clusters.ClusterEnv._cluster_types}
    assert {"ompi", "mpi4py", "slurm", "gketpu", "gcetpu"} <= names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", 2, None), "process_id: expected all of coordinator, num_processes, process_id"),
        ((None, None, 0), "coordinator, num_processes: expected all"),
        (("host", 2, 0), "coordinator: expected HOST:PORT of process 0, got 'host'"),
        (("host:", 2, 0), "coordinator: expected HOST:PORT"),
        (("host:1", 0, 0), "num_processes: expected at least 1, got 0"),
        (("host:1", 2, 2), r"process_id: expected one in 0..1, got 2"),
        (("host:1", 2, -1), r"process_id: expected one in 0..1, got -1"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", None)
    with pytest.raises(ValueError, match=message):
        distributed.connect(*arguments)


def test_a_system_that_cannot_find_the_others_is_told_how_to(monkeypatch):
    def fail(**options):
        raise RuntimeError("no mpi4py")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="no mpi4py.*--coordinator, .*--nodetect"):
        distributed.connect()


def test_in_several_processes_jax_keeps_its_handler_and_names_the_step(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda step: step == 3)
    before = signal.getsignal(signal.SIGTERM)
    with signals.StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) == before
        assert [stop.reached(step) for step in (1, 2, 3)] == [False, False, True]
        with pytest.raises(SystemExit) as ended:
            stop.exit_if_requested()
    assert ended.value.code == 143


def test_files_are_written_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with metrics_log.MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 1.0})
    last = config_and_summary.Last(1, None, "")
    config_and_summary.write_summary(tmp_path, {"steps": 1.0}, last)
    with checkpoints.Checkpoints(tmp_path / "checkpoints", keep=1) as store:
        store.save(1, {"a": np.zeros(2)}, wait=True)
        assert store.steps() == []
    assert not list(tmp_path.iterdir())


def test_shares_of_an_evaluation_are_measured_once_and_put_in_order(monkeypatch):
    # Of 7 examples in batches of 4, made 6 for three processes, the last two have one batch of
    # padding only.
    examples = train_fakes.load(size=7).examples
    shares, finished = [], []

    def measure(variables, batch):
        return {"sum": variables * batch["image"].sum((1, 2, 3))}

    def finish(values, truths):
        finished.append(len(truths))
        return {"sum": values["sum"].astype(np.float64), "area": truths.sum((1, 2))}

    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(distributed, "gather", lambda *share: shares.append(share) or {})
    for index in range(3):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        map_examples.collect(measure, 2.0, examples, batch_size=4, finish=finish)
    assert finished == [2, 1, 2, 1, 2, 1]
    places = [list(places) for _, places in shares]
    assert places == [[0, 1, 6], [2, 3], [4, 5]]
    for values, places in shares:
        batch = [examples[int(position)] for position in places]
        np.testing.assert_allclose(values["sum"], [2 * one["image"].sum() for one in batch])
        np.testing.assert_array_equal(values["area"], [one["truth"].sum() for one in batch])


def test_a_process_alone_fails_as_usual():
    with pytest.raises(KeyError, match="this"), distributed.abort_all_on_error():
        raise KeyError("this")


if __name__ == "__main__":
    distributed.connect(f"localhost:{sys.argv[2]}", 2, int(sys.argv[3]))
    with distributed.abort_all_on_error():
        work(pathlib.Path(sys.argv[1]))
