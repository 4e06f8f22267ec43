"""What can happen to a run, and what becomes of it: a row for each fault.

Each fault is a real one: files are damaged, disks are full, memory is asked for that is not there.
The rows that are tested elsewhere name the test. The last test counts the rows.
"""

import ast
import contextlib
import json
import logging
import os
import pathlib
import shutil
import signal
import time
from typing import Any, NamedTuple

import fault_tools as tools
import jax
import numpy as np
import pytest
import train_fakes

from noisyjax import methods, train
from noisyjax.data import pipeline, source, sources
from noisyjax.data.store import kept
from noisyjax.train import experiments, loop, runs, saved_runs
from noisyjax.train.evaluation import reports
from noisyjax.train.workdir import (
    checkpoint_digests,
    checkpoints,
    config_and_summary,
    data_facts,
    lock,
    metrics_log,
)

ROOT = pathlib.Path(__file__).parents[2]

# What becomes of a run.
GOES_ON = "goes on with the same result"
TOLD = "ends with one clear message, nothing is lost"


class World(NamedTuple):
    """What a check works with.

    Attributes:
      folder: empty, its own.
      patch: pytest's monkeypatch.
      log: pytest's caplog.
      whole: a run that nothing happened to: folder, state and summary.
      part: the folder of the same run, ended after step 9 of 12; checkpoints of steps 8 and 9.
    """

    folder: pathlib.Path
    patch: Any
    log: Any
    whole: tuple[pathlib.Path, Any, dict[str, float]]
    part: pathlib.Path

    def copy(self, whole: bool = False) -> pathlib.Path:
        """Returns a copy of a run."""
        return shutil.copytree(self.whole[0] if whole else self.part, self.folder / "run")

    def goes_on(self, folder: pathlib.Path, **changes: Any) -> None:
        """Gives the command again, and compares with the run that nothing happened to."""
        state, summary = train.train_and_evaluate(train_fakes.config(**changes), folder)
        tools.assert_same(state, self.whole[1])
        tools.assert_same_numbers(summary, self.whole[2])
        rows, expected = (
            metrics_log.read_metrics(each / metrics_log.METRICS_FILE)
            for each in (folder, self.whole[0])
        )
        assert [row["step"] for row in rows] == [row["step"] for row in expected]

    def good(self, folder: pathlib.Path) -> int:
        """Returns the step of the newest checkpoint, which is good."""
        with checkpoints.Checkpoints(folder / "checkpoints", keep=2, read_only=True) as store:
            restored = store.restore(self.whole[1])
            assert int(restored.step) == store.steps()[-1]
            return int(restored.step)


def the_disk_is_full(world):
    def running_out(step, leave):
        stream = pipeline.train_batches

        def batches(*args, start_step=0, **options):
            given = stream(*args, start_step=start_step, **options)
            for done, batch in enumerate(given, start_step):
                if done == step:
                    # It is written beside the training.
                    tools.wait_for(folder / "checkpoints" / "4")
                    tools.fill(disk, leave)
                yield batch

        return batches

    def run(match):
        with pytest.raises(OSError, match=f"disk is full.*{match}") as error:
            train.train_and_evaluate(train_fakes.config(), folder)
        tools.make_room(disk)
        return str(error.value)

    with tools.small_disk(world.folder / "disk") as disk:
        folder = disk / "run"
        # The metrics take a page of the disk every few steps.
        with world.patch.context() as patch:
            patch.setattr(pipeline, "train_batches", running_out(4, 0))
            message = run(r"(metrics\.jsonl|events)")
        assert f"latest checkpoint is {folder}/checkpoints/4" in message
        assert world.good(folder) == 4
        # A checkpoint takes more than is left, the metrics do not.
        with world.patch.context() as patch:
            patch.setattr(pipeline, "train_batches", running_out(7, 32_000))
            assert "checkpoints/4;" in run(r"run/checkpoints")
        assert world.good(folder) == 4
        finish = loop.finish

        def without_space(run, state, store, seconds):
            store.save(int(state.step), state, wait=True)
            tools.fill(disk, 0)
            return finish(run, state, store, seconds)

        with world.patch.context() as patch:
            patch.setattr(loop, "finish", without_space)
            assert "checkpoints/12;" in run(r"val_(cases.csv|report.json)")
        world.goes_on(folder)


def any_file_of_the_newest_checkpoint_is_damaged(world):
    folder = world.copy() / "checkpoints"
    paths = sorted(path for path in (folder / "9").rglob("*") if path.is_file())
    assert len(paths) > 5
    before = folder.with_name("before")
    shutil.copytree(folder, before)
    kinds = list(tools.DAMAGE.values())
    for number, path in enumerate(paths):
        kinds[number % len(kinds)](path)
        with checkpoints.Checkpoints(folder, keep=2) as store:
            restored = store.restore(world.whole[1])
        # Not all files matter; nothing but one of the two states may come back.
        expected = {8: before / "8", 9: before / "9"}[int(restored.step)]
        assert expected.is_dir()
        tools.assert_same(restored, tools.state_of(before, int(restored.step), world.whole[1]))
        shutil.rmtree(folder)
        shutil.copytree(before, folder)


def the_folder_of_the_newest_checkpoint_is_empty(world):
    folder = world.copy()
    for path in (folder / "checkpoints" / "9").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    world.goes_on(folder)
    assert f"checkpoint {folder}/checkpoints/9 is bad" in world.log.text


def no_checkpoint_is_good(world):
    folder = world.copy()
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file() and path.name != "metrics":
            tools.cut_off(path)
    with pytest.raises(checkpoints.Damaged, match=r"none of the checkpoints of steps \[8, 9\]"):
        train.train_and_evaluate(train_fakes.config(), folder)
    assert len(list((folder / "damaged").iterdir())) == 2
    before = tools.content(folder)
    with pytest.raises(checkpoints.Damaged, match="no checkpoint is left, those in .*damaged"):
        train.train_and_evaluate(train_fakes.config(), folder)
    assert tools.content(folder) == before


def the_last_checkpoint_is_gone(world):
    folder = world.copy(whole=True)
    tools.flip(tools.largest(folder / "checkpoints/12/state"))
    # What reads it does not take the one before without a word.
    before = tools.content(folder)
    told = rf"{folder}/summary.json: .* latest checkpoint is that of step 12, .* that of step 8;"
    with pytest.raises(checkpoints.Damaged, match=told):
        saved_runs.restore_without_data(folder)
    assert config_and_summary.finished(train_fakes.config(), folder) is None
    assert tools.content(folder) == before
    world.goes_on(folder)
    assert "finished at step 12, and its newest good checkpoint is of step 8" in world.log.text
    assert world.good(folder) == 12
    shutil.rmtree(folder / "checkpoints/12")
    with pytest.raises(checkpoints.Damaged, match=told):
        saved_runs.restore_without_data(folder)
    world.goes_on(folder)
    assert config_and_summary.finished(train_fakes.config(), folder) is not None


def the_last_checkpoint_is_not_written(world):
    folder = world.copy()

    def losing(run, state, variables):
        tools.wait_for(folder / "checkpoints/12")
        tools.cut_off(tools.largest(folder / "checkpoints/12/state"))
        return {}

    with world.patch.context() as patch:
        patch.setattr(reports, "REPORTS", (losing,))
        with pytest.raises(checkpoints.Damaged, match="12: .* cannot be read back .*not finished"):
            train.train_and_evaluate(train_fakes.config(), folder)
    assert not (folder / "summary.json").exists()
    world.goes_on(folder)


def the_system_does_not_let_checkpoints_be_read(world):
    folder = world.copy()
    before = tools.content(folder)
    restore = checkpoints._Manager.restore

    def failing(*args, **options):
        raise ValueError(told)

    with world.patch.context() as patch:
        patch.setattr(checkpoints._Manager, "restore", failing)
        told = "DATA_LOSS: error reading: [OS error 5: EIO Input/output error]"
        with pytest.raises(OSError, match=f"Input/output error: '{folder}/checkpoints/9'"):
            train.train_and_evaluate(train_fakes.config(), folder)
        told = "DATA_LOSS: error reading"
        with (
            checkpoints.Checkpoints(folder / "checkpoints", keep=2) as store,
            tools.few_files(),
            pytest.raises(OSError, match=f"Too many open files: '{folder}/checkpoints/9"),
        ):
            store.restore(world.whole[1])
    after = tools.content(folder)
    assert {path: after[path] for path in before} == before
    assert not (folder / "damaged").exists()
    # What fails once is read once more.
    calls = []

    def failing_once(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise ValueError("DATA_LOSS: error reading")
        return restore(*args, **options)

    with world.patch.context() as patch:
        patch.setattr(checkpoints._Manager, "restore", failing_once)
        world.goes_on(folder)
    assert not (folder / "damaged").exists()


def the_path_has_special_characters(world):
    folder = world.folder / "study [2]" / "r?n *.[!a] #1 %41 {x} ~ ü\udcff \n" / ("y" * 200)
    shutil.copytree(world.part, folder)
    world.goes_on(folder)
    saved_runs.restore_without_data(folder)


def the_workdir_is_replaced(world):
    folder = world.copy()
    moved = world.folder / "moved"
    batches = pipeline.train_batches

    def replaced(*args, start_step=0, **options):
        for done, batch in enumerate(batches(*args, start_step=start_step, **options), start_step):
            if done == 10:
                folder.rename(moved)
                shutil.copytree(world.whole[0], folder)
            yield batch

    with world.patch.context() as patch:
        patch.setattr(pipeline, "train_batches", replaced)
        with pytest.raises(lock.WorkdirReplaced, match=f"{folder}: expected the working directory"):
            train.train_and_evaluate(train_fakes.config(), folder)
    assert {path.relative_to(folder): data for path, data in tools.content(folder).items()} == {
        path.relative_to(world.whole[0]): data
        for path, data in tools.content(world.whole[0]).items()
    }
    world.goes_on(moved)


def the_checkpoints_are_of_another_run(world):
    folder = world.copy()
    before = tools.content(folder)
    plain = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**plain, "seed": 4}))
    with pytest.raises(checkpoint_digests.OtherRun, match="9: .*a run with another config"):
        train.train_and_evaluate(train_fakes.config(seed=4), folder)
    with pytest.raises(checkpoint_digests.OtherRun, match="9: .*a run with another config"):
        saved_runs.restore_without_data(folder)
    (folder / "config.json").write_bytes(before[folder / "config.json"])
    world.goes_on(folder)


def a_score_is_damaged(world):
    folder = world.copy()
    for step, text in (("8", '{"sco'), ("9", '{"score": "0.5"}')):
        (folder / "checkpoints" / step / "metrics/metrics").write_text(text)
    saved_runs.restore_without_data(folder)
    with pytest.raises(ValueError, match="'best' needs a validation"):
        saved_runs.restore_without_data(folder, checkpoint="best")
    assert f"{folder}/checkpoints/8/metrics/metrics: " in world.log.text
    world.goes_on(folder)
    assert not (folder / "damaged").exists()


def a_checkpoint_was_half_written(world):
    folder = world.copy()
    half = folder / "checkpoints" / "12.orbax-checkpoint-tmp"
    shutil.copytree(folder / "checkpoints" / "9", half)
    world.goes_on(folder)
    assert not half.exists()


def the_workdir_cannot_be_written_to(world):
    def not_reached(*_, **__):
        raise AssertionError("told too late")

    world.patch.setattr(runs, "set_up", not_reached)
    for name in ("run", "other/checkpoints"):
        path = world.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a file where the folder should be")
        workdir = world.folder / name.partition("/")[0]
        with pytest.raises(OSError, match=f"folder that can be written to.*{path}"):
            train.train_and_evaluate(train_fakes.config(), workdir)
    with (
        tools.small_disk(world.folder / "disk", "ro") as disk,
        pytest.raises(OSError, match=f"Read-only file system.*{disk}"),
    ):
        train.train_and_evaluate(train_fakes.config(), disk)


def the_clock_is_set_back(world):
    folder, clock = world.folder / "run", time.time
    with world.patch.context() as patch:
        patch.setattr(time, "time", lambda: clock() + 3e8)
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(6, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train.train_and_evaluate(train_fakes.config(), folder)
    stopped = world.good(folder)
    for number, path in enumerate(sorted(folder.rglob("*"))):
        moment = (1e8, 4e9)[number % 2]
        os.utime(path, (moment, moment))
    with world.patch.context() as patch:
        patch.setattr(time, "time", lambda: clock() - 1e9)
        world.goes_on(folder)
    names = sorted(path.name for path in (folder / "events").iterdir())
    assert [name.rpartition(".")[2] for name in names] == [f"{0:010d}", f"{stopped:010d}"]


def two_runs_in_one_workdir(world):
    folder = world.copy()
    before = tools.content(folder)
    message = rf"{folder}: .*process .* on .*{folder}"
    with (
        tools.other_process_holding(folder) as pid,
        pytest.raises(RuntimeError, match=message) as caught,
    ):
        train.train_and_evaluate(train_fakes.config(), folder)
    assert f"process {pid} on" in str(caught.value)
    assert tools.content(folder) == before


def a_case_vanishes(world, split, position, at):
    """A file that was there at the start is not there when it is read again, and then comes back.

    Five epochs, for batches are read ahead.
    """
    root, alone, folder = (world.folder / name for name in ("cases", "alone", "run"))
    config = tools.files_config(tools.write_cases(root), epochs=5)
    expected = train.train_and_evaluate(config, alone)[0]
    missing = tools.case(root, alone, split, position)
    with world.patch.context() as patch:
        patch.setattr(pipeline, "train_batches", tools.vanishing(missing, at))
        match = rf"{missing.stem}: expected a case that can be read, got FileNotFound.*{missing}"
        with pytest.raises(source.UnreadableCase, match=match):
            train.train_and_evaluate(config, folder)
    assert tools.newest(folder) >= 4
    missing.with_suffix(".gone").rename(missing)
    tools.assert_same(train.train_and_evaluate(config, folder)[0], expected)


def a_case_vanishes_after_the_check(world):
    a_case_vanishes(world, "train", 3, at=5)


def an_evaluation_fails_in_the_middle(world):
    a_case_vanishes(world, "val", 1, at=6)


def damaged_cases_are_skipped(world):
    root, alone, folder = (world.folder / name for name in ("cases", "alone", "run"))
    tools.write_cases(root)
    config = tools.files_config(root, skip=True)
    experiments.keep(runs.set_up(tools.files_config(root), alone).experiment, alone)
    bad = [tools.case(root, alone, split, 2) for split in ("train", "test")]
    for path in bad:
        tools.cut_off(path)
    shutil.rmtree(alone)
    with pytest.raises(source.UnreadableCase, match=bad[0].stem):
        train.train_and_evaluate(tools.files_config(root), alone)
    shutil.rmtree(alone)
    expected, summary = train.train_and_evaluate(config, alone)
    counts = {name: n for name, n in summary.items() if name.endswith("skipped_cases")}
    assert counts == {"skipped_cases": 2, "val_skipped_cases": 0, "test_skipped_cases": 1}
    listed = (alone / "skipped.csv").read_text().splitlines()
    assert [line.split(",")[1:3] for line in listed[1:]] == [
        [bad[0].stem, "train"], [bad[1].stem, "test"],
    ]  # fmt: skip
    assert f"left out: {bad[1].stem}: " in world.log.text
    # It is decided once: a file that is whole again by the time of the second part is still out.
    with world.patch.context() as patch:
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(5, signal.SIGTERM))
        with pytest.raises(SystemExit):
            train.train_and_evaluate(config, folder)
    tools.write_cases(root)
    state, again = train.train_and_evaluate(config, folder)
    tools.assert_same(state, expected)
    tools.assert_same_numbers(again, summary)
    assert (folder / "skipped.csv").read_text() == (alone / "skipped.csv").read_text()


def memory_runs_out(world, method, step, names):
    folder = world.copy()
    methods.METHODS["fake"] = method
    with pytest.raises(MemoryError, match=f"out of memory.*{names}") as error:
        train.train_and_evaluate(train_fakes.config(), folder)
    message = str(error.value)
    assert f"latest checkpoint is {folder}/checkpoints/{step};" in message
    for field in ("train.batch_size (now 5)", "evaluate.batch_size (now 3)", "parallel"):
        assert field in message
    methods.METHODS["fake"] = train_fakes.method
    world.goes_on(folder, **{"evaluate.batch_size": 2})


def memory_runs_out_in_the_step(world):
    memory_runs_out(world, tools.hungry("loss_fn"), 9, "RESOURCE_EXHAUSTED")


def memory_runs_out_in_the_evaluation(world):
    memory_runs_out(world, tools.hungry("predict"), 9, "RESOURCE_EXHAUSTED")


def memory_runs_out_on_the_host(world):
    folder, take = world.copy(), source.take
    with world.patch.context() as patch:
        patch.setattr(source, "take", lambda *args: (np.empty(10**15), take(*args))[1])
        with pytest.raises(MemoryError, match="Unable to allocate(.|\n)*latest checkpoint"):
            train.train_and_evaluate(train_fakes.config(), folder)
    world.goes_on(folder)


def config_or_splits_are_damaged(world):
    folder = world.copy()
    for name in ("config.json", "splits.json"):
        content = (folder / name).read_bytes()
        tools.cut_off(folder / name)
        with pytest.raises(ValueError, match=f"{folder}/{name}: expected"):
            train.train_and_evaluate(train_fakes.config(), folder)
        (folder / name).write_bytes(content)
    assert world.good(folder) == 9


def metrics_or_facts_are_damaged(world):
    folder = world.copy()
    tools.cut_off(folder / data_facts.FILE)
    lines = (folder / metrics_log.METRICS_FILE).read_bytes().splitlines(keepends=True)
    later = b'{"step": 10, "train_lo'
    (folder / metrics_log.METRICS_FILE).write_bytes(b"".join(lines) + b"\xff\x00\n" + later)
    world.goes_on(folder)
    for name in (data_facts.FILE, "config.json"):
        assert (folder / name).read_bytes() == (world.whole[0] / name).read_bytes()


def the_summary_is_damaged(world):
    folder = world.copy(whole=True)
    tools.cut_off(folder / "summary.json")
    world.goes_on(folder)
    assert "summary.json: expected" in world.log.text


def the_end_is_missing(world):
    folder = world.copy(whole=True)
    for name in ("summary.json", "test_report.json", "test_cases.csv"):
        (folder / name).unlink()
    world.goes_on(folder)
    for name in ("test_report.json", "test_cases.csv"):
        assert (folder / name).read_bytes() == (world.whole[0] / name).read_bytes()


def the_workdir_is_moved(world):
    folder = world.folder / "elsewhere" / "run 2"
    shutil.copytree(world.copy(), folder)
    shutil.rmtree(world.folder / "run")
    world.goes_on(folder)
    assert not (world.folder / "run").exists()


def the_data_change_between_two_parts(world):
    folder = world.copy()
    facts = json.loads((folder / data_facts.FILE).read_text())
    (folder / data_facts.FILE).write_text(json.dumps({**facts, "num_examples": 15}))
    with pytest.raises(ValueError, match="data that the run began with.*num_examples was 15"):
        train.train_and_evaluate(train_fakes.config(), folder)
    assert world.good(folder) == 9


def a_kept_case_is_cut_off(world):
    def stored():
        numbers = np.arange(100_000.0)
        return kept.stored(world.folder, "made", {"x": (0,)}, lambda: {"x": numbers})["x"]

    array = stored()
    for path in pathlib.Path(array.path).rglob("c/*"):
        os.truncate(path, 4096)
    with pytest.raises(ValueError, match="made/x: expected the chunks that were written"):
        array[:5]
    assert stored()[-1:] == 99_999


_LOOP = "tests/train/test_train_loop.py::"
_CHECKPOINTS = "tests/train/workdir/test_train_workdir_checkpoints.py::"

# fault -> (what becomes of the run, the check here or the test elsewhere)
FAULTS = {
    "killed (SIGKILL) at random moments": (
        GOES_ON,
        "tests/robustness/test_robustness_soak.py::test_a_run_that_is_killed_comes_to_the_same_bits",
    ),
    "SIGTERM at any step": (
        GOES_ON,
        _LOOP + "test_sigterm_saves_and_the_run_goes_on_bit_for_bit",
    ),
    "SIGTERM to the command: checkpoint, exit code 143": (
        GOES_ON,
        "tests/cli/test_cli_train.py::test_sigterm_is_answered_with_143_and_the_run_can_go_on",
    ),
    "disk full while metrics, a checkpoint and a report are written": (TOLD, the_disk_is_full),
    "bit flipped, file cut off or missing in the newest checkpoint": (
        GOES_ON,
        _CHECKPOINTS + "test_a_bad_checkpoint_is_named_and_the_one_before_is_used",
    ),
    "any file of the newest checkpoint damaged": (
        GOES_ON,
        any_file_of_the_newest_checkpoint_is_damaged,
    ),
    "folder of the newest checkpoint empty": (
        GOES_ON,
        the_folder_of_the_newest_checkpoint_is_empty,
    ),
    "newest checkpoint of a finished run damaged or gone": (GOES_ON, the_last_checkpoint_is_gone),
    "last checkpoint not written as it should be": (TOLD, the_last_checkpoint_is_not_written),
    "checkpoints cannot be read: input/output error, too many open files": (
        TOLD,
        the_system_does_not_let_checkpoints_be_read,
    ),
    "no permission to read checkpoints": (
        TOLD,
        _CHECKPOINTS + "test_without_permission_nothing_is_moved",
    ),
    "checkpoints of another run": (TOLD, the_checkpoints_are_of_another_run),
    "score of a checkpoint damaged": (GOES_ON, a_score_is_damaged),
    "checkpoint replaced while it is read": (
        GOES_ON,
        _CHECKPOINTS + "test_beside_a_writer_the_newest_is_read",
    ),
    "brackets and other special characters in the path": (
        GOES_ON,
        the_path_has_special_characters,
    ),
    "workdir moved and another put in its place while it is written": (
        TOLD,
        the_workdir_is_replaced,
    ),
    "checkpoint half written": (GOES_ON, a_checkpoint_was_half_written),
    "all checkpoints damaged": (TOLD, no_checkpoint_is_good),
    "workdir or its checkpoints cannot be written to": (TOLD, the_workdir_cannot_be_written_to),
    "clock set back and times of files in past and future": (GOES_ON, the_clock_is_set_back),
    "second run in the same workdir": (TOLD, two_runs_in_one_workdir),
    "loss or gradient not finite": (
        TOLD,
        _LOOP + "test_a_loss_that_is_not_finite_stops_the_run",
    ),
    "file of a case vanishes while it is trained on": (TOLD, a_case_vanishes_after_the_check),
    "damaged cases with data.skip_damaged": (GOES_ON, damaged_cases_are_skipped),
    "evaluation fails in the middle": (TOLD, an_evaluation_fails_in_the_middle),
    "out of device memory in a step": (TOLD, memory_runs_out_in_the_step),
    "out of device memory in an evaluation": (TOLD, memory_runs_out_in_the_evaluation),
    "out of memory on the host": (TOLD, memory_runs_out_on_the_host),
    "config.json or splits.json cut off": (TOLD, config_or_splits_are_damaged),
    "metrics.jsonl or source.json cut off or overwritten": (GOES_ON, metrics_or_facts_are_damaged),
    "summary.json cut off": (GOES_ON, the_summary_is_damaged),
    "ended between the last checkpoint and the summary": (GOES_ON, the_end_is_missing),
    "workdir moved": (GOES_ON, the_workdir_is_moved),
    "other data at the second start": (TOLD, the_data_change_between_two_parts),
    "a kept case is cut off while it is read": (TOLD, a_kept_case_is_cut_off),
}

_checked: list[str] = []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        train_fakes.install(patch)
        state, summary = train.train_and_evaluate(train_fakes.config(), folder / "run")
        patch.setattr(pipeline, "train_batches", train_fakes.stop_at(8, signal.SIGTERM))
        train.train_and_evaluate(train_fakes.config(), folder / "part")
    return (folder / "run", jax.device_get(state), summary), folder / "part"


_HERE = [name for name, (_, check) in FAULTS.items() if callable(check)]


@pytest.mark.parametrize("fault", _HERE)
def test_a_run_survives(fault, finished, tmp_path, monkeypatch, caplog):
    train_fakes.install(monkeypatch)
    monkeypatch.setitem(sources.SOURCES, "files", tools.load_files)
    with caplog.at_level(logging.WARNING, logger="absl"):
        FAULTS[fault][1](World(tmp_path, monkeypatch, caplog, *finished))
    _checked.append(fault)


def test_the_table_counts_itself():
    elsewhere = [name for name, (_, check) in FAULTS.items() if isinstance(check, str)]
    for name in elsewhere:
        path, _, function = FAULTS[name][1].partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    for name, (outcome, _) in FAULTS.items():
        tested = "not run" if name in _HERE and name not in _checked else outcome
        print(f"{name}: {tested}")
    survived = [*_checked, *elsewhere]
    print(f"faults survived: {len(survived)} of {len(FAULTS)}")
