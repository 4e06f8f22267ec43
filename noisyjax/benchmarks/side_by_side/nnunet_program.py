"""nnU-Net's part of a side-by-side: a program that the Python with nnunetv2 runs.

It needs nothing of this package, so that nnU-Net may be installed in another environment:

    PYTHON nnunet_program.py prepare NUMBER CONFIGURATION
    PYTHON nnunet_program.py train DATASET CONFIGURATION SEED MINUTES... --out=FOLDER
    PYTHON nnunet_program.py predict MODEL CHECKPOINT IMAGES OUT

The folders of nnU-Net's own variables (nnUNet_raw and so on) are those of the caller. Everything
runs on one thread. Training uses nnU-Net's trainer with its own defaults, on all cases; a
checkpoint is kept whenever the processor time of the process, imports included, passes one of the
minutes. After the last one it ends.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import time
from typing import Any

_PLANS = "nnUNetPlans"
_PREPARED = "nnUNet_preprocessed"


class _Ended(Exception):
    """All checkpoints are kept."""


def prepare(number: int, configuration: str) -> None:
    """Plans a data set and prepares its cases, by nnU-Net's defaults."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api

    plan_and_preprocess_api.extract_fingerprints([number], num_processes=1, clean=False)
    plan_and_preprocess_api.plan_experiments([number])
    plan_and_preprocess_api.preprocess([number], _PLANS, (configuration,), (1,))


def checkpoint(minutes: float) -> str:
    """The name of a checkpoint in the folder of nnU-Net's fold."""
    return f"checkpoint_{minutes:g}min.pth"


def timed_trainer(base: Any, minutes: list[float], out: pathlib.Path) -> Any:
    """Derives a trainer that keeps checkpoints by time and then raises `_Ended`.

    With each one goes a file ``OUT/MINUTESmin.json``: updates and seconds, also those to the end of
    the first update.
    """

    class Timed(base):
        left = tuple(sorted(minutes))
        updates = 0
        first_step_s = None

        def train_step(self, batch: dict) -> dict:
            # Before the update, so that also the first one after a validation is late enough.
            while self.left and time.process_time() >= 60 * self.left[0]:
                self._keep(self.left[0])
                self.left = self.left[1:]
            if not self.left:
                raise _Ended
            result = super().train_step(batch)
            self.updates += 1
            if self.first_step_s is None:
                self.first_step_s = time.process_time()
            return result

        def _keep(self, minutes: float) -> None:
            facts = {
                "updates": self.updates,
                "cpu_s": time.process_time(),
                "first_step_s": self.first_step_s,
            }
            path = pathlib.Path(self.output_folder) / checkpoint(minutes)
            self.save_checkpoint(f"{path}.tmp")
            os.replace(f"{path}.tmp", path)
            _write(out / f"{minutes:g}min.json", facts)

    # Folders and checkpoints are named by the class; nnU-Net finds that of its own to predict.
    Timed.__name__ = base.__name__
    return Timed


def train(
    dataset: str, configuration: str, seed: int, minutes: list[float], out: pathlib.Path
) -> None:
    """Trains from the start until all checkpoints are kept."""
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer

    _one_thread(torch)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    prepared = pathlib.Path(os.environ[_PREPARED]) / dataset
    plans = json.loads((prepared / f"{_PLANS}.json").read_text())
    trainer = timed_trainer(nnUNetTrainer.nnUNetTrainer, minutes, out)(
        plans={**plans, "continue_training": False},
        configuration=configuration,
        fold="all",
        dataset_json=json.loads((prepared / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    with contextlib.suppress(_Ended):
        trainer.run_training()


def predict(model: str, name: str, images: str, out: str) -> None:
    """Segments images by a checkpoint: half-overlapping windows, no mirroring."""
    import torch
    from nnunetv2.inference import predict_from_raw_data

    _one_thread(torch)
    predictor = predict_from_raw_data.nnUNetPredictor(
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(model, ("all",), name)
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(images, out)


def _one_thread(torch: Any) -> None:
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)


def _write(path: pathlib.Path, content: dict) -> None:
    """Writes a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content) + "\n")
    os.replace(unfinished, path)


def main() -> None:
    """Does one piece of the work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("prepare")
    one.add_argument("number", type=int)
    one.add_argument("configuration")
    one = parts.add_parser("train")
    one.add_argument("dataset")
    one.add_argument("configuration")
    one.add_argument("seed", type=int)
    one.add_argument("minutes", type=float, nargs="+")
    one.add_argument("--out", type=pathlib.Path, required=True)
    one = parts.add_parser("predict")
    for name in ("model", "name", "images", "out"):
        one.add_argument(name)
    given = vars(parser.parse_args())
    {"prepare": prepare, "train": train, "predict": predict}[given.pop("part")](**given)


if __name__ == "__main__":
    main()
