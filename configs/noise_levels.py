r"""How strong each of the five noises of UMA-Net is, by data set and level.

With these strengths the mean Dice of each annotator to the truth is 0.8 at the level LN (low noise)
and 0.7 at HN (high noise). Found, on the first images, by

    python -m noisyjax.cli.fit_noise --dice=0.8 --dice=0.7 --source=digits --images=250
    ... --source=mnist --option=root=data/mnist --images=250
    ... --source=lidc --option=path=lidc_4raters_128.npz --option=crop=64 --option=vote=True \
        --images=250
    ... --source=bubil --option=path=bubil_multi_annotator_128.npz --option=shrink=2 \
        --option=subset=rat_smc_phase ... --images=50

The last has one ``--option=subset`` for each of the five sets of photographs (all but
``aorta_mri``): 232 images that count as one data set.

Use: ``panel = tuple(LEVELS["digits"]["HN"])``,
``panel_options = {"strengths": LEVELS["digits"]["HN"]}``.
"""

# source -> level -> noise -> strength
LEVELS = {
    "digits": {
        "LN": {
            "erode_or_dilate": 3.484,
            "shift": 1.797,
            "reverse_square": 11.38,
            "polygonise": 0.09961,
            "erase": 0.1992,
        },
        "HN": {
            "erode_or_dilate": 4.781,
            "shift": 2.719,
            "reverse_square": 13.94,
            "polygonise": 0.1426,
            "erase": 0.3008,
        },
    },
    "lidc": {
        "LN": {
            "erode_or_dilate": 3.062,
            "shift": 1.734,
            "reverse_square": 6.938,
            "polygonise": 0.1997,
            "erase": 0.1992,
        },
        "HN": {
            "erode_or_dilate": 4.25,
            "shift": 2.625,
            "reverse_square": 9.312,
            "polygonise": 0.248,
            "erase": 0.3008,
        },
    },
    "bubil": {
        "LN": {
            "erode_or_dilate": 3.5,
            "shift": 2.094,
            "reverse_square": 12.25,
            "polygonise": 0.1309,
            "erase": 0.2012,
        },
        "HN": {
            "erode_or_dilate": 5.188,
            "shift": 3.438,
            "reverse_square": 15.81,
            "polygonise": 0.188,
            "erase": 0.3027,
        },
    },
    "mnist": {
        "LN": {
            "erode_or_dilate": 1.773,
            "shift": 0.7422,
            "reverse_square": 6.5,
            "polygonise": 0.06836,
            "erase": 0.2012,
        },
        "HN": {
            "erode_or_dilate": 2.375,
            "shift": 1.109,
            "reverse_square": 8.25,
            "polygonise": 0.09814,
            "erase": 0.3047,
        },
    },
}
