"""The program that nnU-Net's Python runs, without nnU-Net."""

import json
import pathlib

import pytest

from noisyjax.benchmarks.side_by_side import nnunet_program


class _Trainer:
    """Like nnU-Net's trainer: epochs of a few updates."""

    def __init__(self, folder):
        self.output_folder = str(folder)

    def train_step(self, batch):
        return {"loss": batch["data"]}

    def save_checkpoint(self, path):
        pathlib.Path(path).write_text(str(self.updates))

    def run_training(self):
        for number in range(1000):
            assert self.train_step({"data": number}) == {"loss": number}


def test_checkpoints_are_kept_when_the_time_has_passed(tmp_path, monkeypatch):
    # The clock is read before each update, after the first one, and for each checkpoint.
    seconds = iter(range(0, 10_000, 10))
    monkeypatch.setattr(nnunet_program.time, "process_time", lambda: next(seconds))
    trainer = nnunet_program.timed_trainer(_Trainer, [2.5, 1.0], tmp_path / "facts")
    assert trainer.__name__ == "_Trainer"
    with pytest.raises(nnunet_program._Ended):
        trainer(tmp_path).run_training()
    facts = {m: json.loads((tmp_path / "facts" / f"{m}min.json").read_text()) for m in ("1", "2.5")}
    # Readings at 0 (update 1), 10 (its end), 20, 30, 40, 50 (updates 2 to 5), 60 (the first time).
    assert facts["1"] == {"updates": 5, "cpu_s": 70, "first_step_s": 10}
    assert (tmp_path / "checkpoint_1min.pth").read_text() == "5"
    # At 80 it is not 2.5 minutes yet; updates 6 to 12 follow.
    assert facts["2.5"] == {"updates": 12, "cpu_s": 160, "first_step_s": 10}
    assert (tmp_path / "checkpoint_2.5min.pth").read_text() == "12"
    assert not list(tmp_path.rglob("*.tmp"))
