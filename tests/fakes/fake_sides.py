"""A program in the place of both sides: it learns nothing and predicts from the image.

    fake_sides.py .../nnunet_program.py prepare|train|predict ...
    fake_sides.py .../our_program.py ...
    fake_sides.py -m noisyjax predict ...

Each image has its truth in its values: nnU-Net's predictions are right from 2 minutes on, and empty
before; ours miss the class 2.
"""

import json
import os
import pathlib
import sys

import nibabel
import numpy as np

_RAW = "nnUNet_raw"


def _segment(images, out, change):
    out = pathlib.Path(out)
    out.mkdir(parents=True)
    for path in sorted(pathlib.Path(images).glob("*_0000.nii.gz")):
        image = nibabel.load(path)
        label = change(np.asarray(image.dataobj).astype(np.uint8) // 100)
        name = path.name.replace("_0000", "")
        nibabel.save(nibabel.Nifti1Image(label, image.affine), out / name)


def _note(what):
    with open(os.environ["FAKE_NOTES"], "a") as file:
        file.write(f"{what} {len(os.sched_getaffinity(0))} {os.environ['OMP_NUM_THREADS']}\n")


def _nnunet(part, given):
    if part == "prepare":
        raw = pathlib.Path(os.environ[_RAW]) / "Dataset001_study"
        assert (raw / "imagesTr").is_dir()
        assert not (raw / "labelsTs").exists()
    if part == "train":
        if given[2] == "13":
            print("out of luck")
            sys.exit(1)
        out = pathlib.Path(given[-1].removeprefix("--out="))
        for minutes in given[3:-1]:
            facts = {"updates": 10 * float(minutes), "cpu_s": 60 * float(minutes)}
            text = json.dumps({**facts, "first_step_s": 3.0 + int(given[2])})
            (out / f"{minutes}min.json").write_text(text)
    if part == "predict":
        right = given[1] == "checkpoint_2min.pth"
        _segment(given[2], given[3], lambda label: label * right)


def _train_ours(given):
    from noisyjax.train.workdir import config_and_summary

    assert pathlib.Path(given[1]).read_text() == "a plan"
    assert given[3:] == ["60", "0", "majority"]
    print("training fold 0", flush=True)
    workdir = pathlib.Path(given[2]) / "fold_0"
    workdir.mkdir(parents=True)
    last = config_and_summary.Last(latest=40, best=20, files="")
    config_and_summary.write_summary(workdir, {"seconds_compile": 7.0}, last)


if __name__ == "__main__":
    program, *words = sys.argv[1:]
    if program.endswith("nnunet_program.py"):
        _note(f"nnunet {words[0]} {' '.join(words[4:-1]) if words[0] == 'train' else ''}")
        _nnunet(words[0], words[1:])
    elif program.endswith("our_program.py"):
        _note("ours train")
        _train_ours(words)
    elif words[1] == "plan":
        _note("ours plan")
        pathlib.Path(words[words.index("--out") + 1]).write_text("a plan")
    else:
        _note("ours predict")
        assert words[:2] == ["noisyjax", "predict"]
        _segment(words[3], words[5], lambda label: label * (label == 1))
