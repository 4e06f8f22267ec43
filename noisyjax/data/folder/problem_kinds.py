"""What can be wrong with a folder of images and labels, and how to mend it."""

import dataclasses
from typing import Any

# kind -> (what is wrong, what to do); filled in by the fields of `problem`.
KINDS = {
    "no_folder": (
        "there is no folder {want}",
        "make it, or give the folder of a BIDS data set, which has sub-01/anat; see --help",
    ),
    "no_classes": (
        "nothing names the classes",
        "write derivatives/NAME/dseg.tsv with the columns index and name, or a dataset.json with "
        '"labels"; labels are {want}',
    ),
    "bad_classes_table": (
        "the table of classes cannot be used: {got}",
        "write the columns index and name, separated by tabs, of 2 to 256 classes, 0 for the "
        "background; the tables of all raters are one",
    ),
    "no_bids_images": (
        "there are subjects, and no image of them",
        "add images like {want}; of a folder of derivatives give the data set's that it lies in",
    ),
    "no_dataset_json": ("there is no dataset.json", "write one: {want}"),
    "bad_dataset_json": ("dataset.json: {got}", "write it like this: {want}"),
    "bad_labels": (
        "labels: {got}",
        "give names to 2 to 256 whole numbers up to 65534, 0 for the background, like "
        '{{"background": 0, "organ": 1}}, the highest to "ignore" if there is such a one',
    ),
    "old_dataset_json": (
        "it is of nnU-Net's first version: {got}",
        'it is read as it is; nnU-Net 2 wants {{"channel_names": {{"0": "CT"}}, "labels": '
        '{{"background": 0, "organ": 1}}}}',
    ),
    "bad_regions": (
        "labels or regions_class_order: {got}",
        'name them like {{"background": 0, "whole": [1, 2], "core": 2}}, with '
        '"regions_class_order": [1, 2]: the class that each is written as, the inner ones last',
    ),
    "bad_soft": (
        "soft: {got}",
        "write true where labels are probabilities of the one class beside the background, in "
        "[0, 1]; of several classes, or with ignore, they cannot be read",
    ),
    "bad_file_ending": ("file_ending: got {got!r}", "use one of {want}, the one of your files"),
    "bad_channels": (
        "channel_names: {got}",
        'give names to the numbers 0, 1, ... like {{"0": "CT"}}',
    ),
    "count": (
        "numTraining is {want}, imagesTr has {got} cases",
        "correct numTraining or the files",
    ),
    "bad_patients": (
        "patients: {got}",
        'name the patient of each case like {{"case_1": "anna", "case_2": "anna"}}',
    ),
    "bad_weights": (
        "weights: {got}",
        'give cases numbers above 0 like {{"case_1": 0.5}}',
    ),
    "unknown_case": (
        "{want} names the case {got}, which has no image",
        "correct the name, or take the case out of {want}",
    ),
    "divided_patient": (
        "the patient {got} has cases in imagesTr and in imagesTs",
        "keep them in one of both; tests on training patients say little",
    ),
    "unsafe_path": (
        "the name {got!r} leads out of the folder or holds odd characters",
        "use letters, digits, '_', '-', '.', '+' and single spaces, and no '..'",
    ),
    "same_name": (
        "the name is that of {got} but for its letters' case or Unicode form",
        "rename one of them: on other systems both are one file",
    ),
    "no_cases": ("there is no image in {want}", "put images in it, named CASE_0000{got}"),
    "unknown_file": ("the file is no image or label", "take it out of the folder"),
    "misnamed": (
        "the file is not named like an image or label of this folder",
        "save it as {want}, or take it out of the folder",
    ),
    "missing_channel": ("channel {want} of the case is missing", "add the file {got}"),
    "extra_channel": (
        "the case has a channel {got}, dataset.json names {want}",
        "add the channel to channel_names, or take the file out",
    ),
    "two_files": (
        "what is in it is in {got} too",
        "keep one of them",
    ),
    "missing_label": (
        "the case has an image and no label",
        "add {want}, or take the image out of the folder",
    ),
    "missing_image": (
        "the label has no image",
        "add {want}, or take the label out of the folder",
    ),
    "no_rater": (
        "nobody labelled the case",
        "add a label in ratersTr/RATER/, or take the image out of the folder",
    ),
    "truth_alone": (
        "the case has a truth, and no rater labelled it",
        "it tests, for networks learn from raters; add a label in ratersTr/RATER/ to train on it",
    ),
    "empty_rater": ("the rater has no label at all", "fill the folder or take it out"),
    "in_both_parts": (
        "the case is in imagesTr and in imagesTs",
        "keep it in one of them; tests on training images say nothing",
    ),
    "same_image": (
        "the image is the same file as {got}",
        "keep one of them: a copy in another split makes the test too easy",
    ),
    "missing": ("{got}", "check the link or the permissions of the file"),
    "empty": ("{got}", "copy the file again"),
    "truncated": ("{got}", "copy or download the file again; `gzip -t FILE` tests it"),
    "too_large": ("{got}", "check the header; crop or resample the image if it is right"),
    "format": ("{got}", "convert the file, for example with SimpleITK or nibabel"),
    "four_dimensional": (
        "{got}",
        "write each time point or channel to a file of its own: CASE_0000, CASE_0001, ...",
    ),
    "affine": ("{got}", "write the file again with the affine of its scanner's image"),
    "sidecar": (
        "{got}",
        'write it like {{"spacing": [5, 0.5, 0.5]}}: mm along each axis, in the order of the TIFF',
    ),
    "mixed_axes": (
        "the image has {got} axes, the first, {want}",
        "keep images and volumes in different folders",
    ),
    "channel_shape": (
        "the channel has shape {got}, channel 0, {want}",
        "resample all channels to the voxels of one of them",
    ),
    "channel_affine": (
        "the channel lies elsewhere than channel 0, {want}: {got}",
        "resample all channels to the voxels of one of them",
    ),
    "no_colours": (
        "the file is the case's only one and has no colours, dataset.json names {want} channels",
        "save it in colours (RGB), or each channel in a file: CASE_0000, CASE_0001, ...",
    ),
    "number_of_channels": (
        "the case has {got} channels, the first, {want}",
        "bring all images to the same channels, for example all to grey values",
    ),
    "shape": (
        "the label has shape {got}, the image, {want}",
        "export the label again on the voxels of its image",
    ),
    "label_affine": (
        "the label lies elsewhere than its image, {want}: {got}",
        "copy the affine of the image, if they lie on each other in a viewer, or raise "
        "grid_tolerance; else resample it",
    ),
    "label_colours": ("the label map has colours", "save it as one number for each pixel"),
    "not_whole": (
        "the label has values between whole numbers, such as {got}",
        "resample labels by the nearest voxel, and save them as integers",
    ),
    "no_probability": (
        "the label has values such as {got}, dataset.json says that it is soft",
        "write the probability of the foreground, in [0, 1]",
    ),
    "rounded": (
        "the label has values near whole numbers, such as {got}, which were rounded",
        "save labels as integers without a slope; --ignore=rounded if it is meant",
    ),
    "outside_classes": (
        "the label has values {got}, dataset.json has {want}",
        "add the classes to dataset.json, or set these voxels to a class (255 often is 1)",
    ),
    "unknown_segment": (
        "the segment {got} is no class of dataset.json, which has {want}",
        "give the segment the name of a class, or take it out",
    ),
    "overlap": (
        "{got} voxels are in segments of several classes; the later segment was taken",
        "let segments of different classes not overlap; --ignore=overlap if it is meant",
    ),
    "empty_mask": (
        "the label marks nothing",
        "see whether it was saved empty by mistake; --ignore=empty_mask if it is meant",
    ),
    "absent_class": (
        "no label has the class {got}",
        "take the class out of dataset.json, or see whether its labels were lost",
    ),
    "not_finite": (
        "the image has {got} voxels of NaN or inf",
        "replace them, for example by the value of air",
    ),
    "constant": ("all voxels of the image are {got}", "export the image again"),
    "far_spacing": (
        "the voxels are {got} mm, those of most images {want}",
        "see whether the header is in another unit; --ignore=far_spacing if it is right",
    ),
    "one_slice": (
        "the volume is one voxel thick: {got}",
        "save images of one slice without the third axis, or give whole volumes",
    ),
}

# What a folder can be trained on all the same.
HARMLESS = (
    "old_dataset_json",
    "count",
    "unknown_file",
    "truth_alone",
    "empty_rater",
    "same_image",
    "rounded",
    "overlap",
    "empty_mask",
    "absent_class",
    "constant",
    "far_spacing",
    "one_slice",
)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with a folder: what (a key of `KINDS`), where, and how to mend it.

    The case may be ""; the file is below the folder.
    """

    kind: str
    case: str
    file: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message} ({self.remedy})"


def problem(kind: str, *, case: str = "", file: str = "", got: Any = "", want: Any = "") -> Problem:
    """Returns a problem with its message and remedy, filled in by what there is and should be.

    >>> str(problem("constant", case="a", file="imagesTr/a_0000.png", got=7))
    'imagesTr/a_0000.png: all voxels of the image are 7 (export the image again)'
    """
    message, remedy = (_printable(text.format(got=got, want=want)) for text in KINDS[kind])
    return Problem(kind, case, _printable(file), message, remedy)


class Problems(list):
    """Problems as they are met."""

    def add(self, kind: str, **fields: Any) -> None:
        """Appends a `problem`."""
        self.append(problem(kind, **fields))


def _printable(text: str) -> str:
    """Escapes what would control a terminal: names of files and dataset.json may hold anything."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
