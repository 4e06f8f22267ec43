"""A source, a network and a method small enough to train in milliseconds."""

import os

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import linen as nn

from noisyjax import methods, models
from noisyjax.data import pipeline, source, sources
from noisyjax.methods import base
from noisyjax.train import config_fields

RATERS = ("anna", "bert")
SIDE = 6


def load(*, size=22, poison=-1, persistent=True, truth=True):
    rng = np.random.default_rng(0)
    images = rng.random((size, SIDE, SIDE, 1), np.float32)
    truths = (images[..., 0] > 0.5).astype(np.uint8)
    anna = np.where(rng.random(truths.shape) < 0.2, 1 - truths, truths)
    bert = np.where(rng.random(truths.shape) < 0.4, 1, truths)
    if poison >= 0:
        images[poison] = 3e38
    labels = np.stack([anna, bert], axis=1).astype(np.uint8)
    return source.Source(
        name="fake",
        examples=source.ArrayExamples(images, truths if truth else None, labels),
        num_classes=2,
        class_names=("background", "blob"),
        spacing=(1.0, 1.0),
        has_truth=truth,
        rater_names=RATERS,
        persistent_raters=persistent,
    )


def method(segmenter=None, *, num_raters, num_classes):
    """Logits linear in the intensity, one confusion matrix per rater."""
    del segmenter

    def init(key, batch):
        channels = batch["image"].shape[-1]
        kernel = 0.1 * jax.random.normal(key, (channels, num_classes))
        cms = jnp.broadcast_to(jnp.eye(num_classes), (num_raters, num_classes, num_classes))
        return {
            "params": {
                "segmenter": {"kernel": kernel, "bias": jnp.zeros(num_classes)},
                "annotators": {"logits": 2.0 * cms},
            }
        }

    def predict(variables, image):
        params = variables["params"]
        kernel, bias = params["segmenter"]["kernel"], params["segmenter"]["bias"]
        # Doubled, so that a finite intensity can overflow.
        logits = jnp.einsum("...k,kl->...l", 2 * image, kernel) + bias.reshape(1, 1, 1, -1)
        probs = jax.nn.softmax(logits)
        cms = jax.nn.softmax(params["annotators"]["logits"], axis=-2)
        raters = jnp.einsum("rij,bhwj->brhwi", cms, probs)
        shape = (*raters.shape, num_classes)
        return base.Prediction(probs, jnp.broadcast_to(cms[None, :, None, None], shape), raters)

    def loss_fn(variables, batch, key, step):
        del key, step
        raters = predict(variables, batch["image"]).rater_probs
        labels = batch["labels"].astype(jnp.int32)[..., None]
        nll = -jnp.log(jnp.take_along_axis(raters, labels, axis=-1)[..., 0])
        each = jnp.where(batch["rater_mask"], nll.mean(axis=(2, 3)), 0.0).sum(axis=1)
        return base.weighted(each, batch["weight"], {"double": 2 * each}, {})

    return base.Method(init, loss_fn, predict, base.label_params)


class NoNetwork(nn.Module):
    num_classes: int
    axis_name: str | None


def install(patch):
    """Registers the fakes by their names, for as long as the `pytest.MonkeyPatch` lasts."""
    patch.setitem(sources.SOURCES, "fake", load)
    patch.setitem(models.MODELS, "none", NoNetwork)
    patch.setitem(methods.METHODS, "fake", method)


def config(**changes):
    """22 examples: 16 to train with (4 steps an epoch, the last one padded), 2 + 4 held out."""
    config = config_fields.default().unlock()
    options = changes.pop("options", {})
    config.data.options = ml_collections.ConfigDict(options)
    config.model = ml_collections.ConfigDict({"name": "none"})
    fields = {
        "seed": 3,
        "method": "fake",
        "data.name": "fake",
        "data.panel": (),
        "data.input_noise": 0.0,
        "data.splits": (0.72, 0.1, 0.18),
        "data.replacement.overlap": 0.7,
        "data.replacement.kinds": ("erosion", "dilation"),
        "train.epochs": 3,
        "train.batch_size": 5,
        "train.learning_rate": 0.1,
        "train.warmup_steps": 2,
        "train.weight_decay": 1e-3,
        "train.head_learning_rate": 0.5,
        "train.ema": 0.9,
        "evaluate.batch_size": 3,
        "checkpoint.every_epochs": 1,
        "log_every_steps": 1,
        "progress": False,
    }
    config.update_from_flattened_dict(fields | changes)
    return config_fields.resolve(config)


def stop_at(step, number):
    """Makes the run receive a signal as it is given the batch after a step."""
    batches = pipeline.train_batches

    def stopping(*args, start_step=0, **options):
        stream = batches(*args, start_step=start_step, **options)
        for done, batch in enumerate(stream, start_step):
            if done == step:
                os.kill(os.getpid(), number)
            yield batch

    return stopping
