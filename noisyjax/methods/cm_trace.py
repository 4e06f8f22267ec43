"""Learn the truth and each annotator's confusion matrices together (Zhang et al. 2020).

A segmentation network gives p(true class), heads on its last features give each annotator's
matrices A, and the labels are explained by the product A p. The likelihood alone cannot tell truth
from error: exchange two classes in p and in every A, or let p copy one annotator, and A p stays the
same. The trace, minimised, does not decide either (where p is certain, half of A is free); what
decides is where training starts. The paper starts from matrices near the identity.

Ours goes from coarse to fine. First annotators are one-coin: one error rate each, the simplest
model of Dawid & Skene. So few numbers cannot explain the labels by bending to one annotator here
and to another there; they find the annotators who are closest to all others, over all images at
once. With several classes annotators err on some and not on others, or exchange them, and a whole
matrix each is needed, again one for all images. The network learns that consensus, then the paper's
loss joins, and the consensus stays as an anchor:

1. warm-up: the network learns the mean label, the matrices the identity;
2. frozen segmenter: the network learns the consensus, and the matrices explain the labels given the
   network, without moving it (released together, the two undo each other for some epochs, and
   whatever comes out of that decides the rest);
3. joint: Eq. 4 plus the consensus.

In the last stage an annotator who did not label an image counts in the consensus as well, by the
label that their matrices impute. With one label per image there is no consensus without that.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from noisyjax import fusion, models
from noisyjax.core import checks, ignored
from noisyjax.losses import confusion, entropy
from noisyjax.methods import base, dawid_skene, network

_KINDS = ("spatial", "low_rank", "global", "oracle")
_CONSENSUS = ("auto", "one_coin", "matrices", "mean", "none")

# Name of the collection of variables with the counts of the consensus, [R, L, L].
COLLECTION = "consensus"

# More updates than any run has.
_FOREVER = 2**30
# Updates in which the counts follow the mean label, until they have a start.
_FIRST_STEPS = 10


def build(
    segmenter: Any,
    *,
    num_raters: int,
    num_classes: int,
    annotators: str = "spatial",
    trace: bool = True,
    trace_weight: float | int = 0.01,
    warmup_steps: int = 80,
    frozen_segmenter_steps: int = 80,
    consensus: str = "auto",
    consensus_weight: float | int = 3.0,
    consensus_prior: float | int = 0.5,
    min_error_rate: float | int = 0.1,
    missing_rater_weight: float | int = 0.5,
    min_raters_for_consensus: int = 4,
    convs: int = 1,
    rank: int = 1,
) -> base.Method:
    """Builds the method; its defaults were chosen on the validation images of `configs/example.py`.

    Args:
      annotators: "spatial" (a matrix per annotator, image and pixel), "low_rank", "global" (one
        matrix per annotator), or "oracle" (the true matrices are given, only p is learnt, by the
        likelihood alone).
      trace: whether the trace is penalised; False is the paper's "without trace".
      trace_weight: lambda of Eq. 4.
      warmup_steps: updates of the first stage.
      frozen_segmenter_steps: updates of the second.
      consensus: what the network learns beside the paper's loss: "one_coin" or "matrices" (several
        classes; an image with one label has that for its consensus) as above, "mean" (the mean
        label throughout), or "none" (the paper's warm-up: the matrices alone). "auto" is
        "one_coin" for two classes, "matrices" for more.
      consensus_weight: of what it learns so, beside the paper's loss.
      consensus_prior: how much the consensus trusts the network, from 0 (labels alone) to 1 (Bayes'
        rule, which more easily believes its own errors).
      min_error_rate: smallest error rate that annotators may have in the consensus, so that no
        single one outvotes two decent ones who agree.
      missing_rater_weight: what the imputed label of an annotator who did not label the image
        counts in the consensus, beside 1 for a label; 0 for nothing. Global matrices have none.
      min_raters_for_consensus: with fewer raters than this the network learns the mean label to the
        end, and the matrices explain the labels given the network. The three pairs of three raters
        fit any three error rates, so their consensus is a vote for the two who agree most.
      convs: 3^n convolutions of each spatial or low-rank head. The paper has 4; on its example 1
        does as well in half the time.
      rank: of a low-rank head's matrices.
    """
    checks.one_of("annotators", annotators, _KINDS)
    checks.one_of("consensus", consensus, _CONSENSUS)
    checks.positive("missing_rater_weight", missing_rater_weight, or_zero=True)
    if consensus == "auto":
        consensus = "one_coin" if num_classes == 2 else "matrices"
    oracle = annotators == "oracle"
    few = num_raters < min_raters_for_consensus
    consensus = "mean" if few else consensus
    plan = _Plan(
        trace_weight=trace_weight if trace else 0.0,
        warmup_steps=warmup_steps,
        frozen_segmenter_steps=_FOREVER if few else frozen_segmenter_steps,
        consensus_weight=0.0 if consensus == "none" else consensus_weight,
        consensus_prior=consensus_prior,
        # One matrix for all pixels only repeats what the network predicts.
        imputed_weight=missing_rater_weight if annotators in ("spatial", "low_rank") else 0.0,
        counted=consensus == "matrices",
        min_error_rate=min_error_rate,
    )
    modules = {"segmenter": segmenter}
    if not oracle:
        options = {"spatial": {"convs": convs}, "low_rank": {"convs": convs, "rank": rank}}
        modules["annotators"] = models.annotators.build(
            annotators, num_raters, num_classes, **options.get(annotators, {})
        )
    if consensus == "one_coin" and not oracle:
        one_coin = models.annotators.build(
            "one_coin", num_raters, num_classes, min_error_rate=min_error_rate
        )
        modules["coins"] = one_coin
    setup = _Setup(modules, _Plan() if oracle else plan, num_raters, num_classes)
    return base.Method(
        functools.partial(_init, setup),
        functools.partial(_loss, setup),
        functools.partial(_predict, setup),
        base.label_params,
        needs_truth=oracle,
        record=_record if setup.plan.counted else None,
    )


class _Plan(NamedTuple):
    """What counts when, and how much."""

    trace_weight: float = 0.0
    warmup_steps: int = 0
    frozen_segmenter_steps: int = 0
    consensus_weight: float = 0.0
    consensus_prior: float = 0.0
    imputed_weight: float = 0.0
    counted: bool = False
    min_error_rate: float = 0.0

    @property
    def joint_from(self) -> int:
        return self.warmup_steps + self.frozen_segmenter_steps


class _Setup(NamedTuple):
    """Modules by name (without "annotators" it is the oracle's method), plan and sizes."""

    modules: dict[str, Any]
    plan: _Plan
    num_raters: int
    num_classes: int


class _Terms(NamedTuple):
    """The parts of an example's loss, each a mean over labelled pixels, and its joint counts."""

    nll: Array
    trace: Array
    identity: Array
    consensus: Array
    one_coin_nll: Array
    joint_counts: Array


def _init(setup: _Setup, key: Array, batch: base.Batch) -> base.Variables:
    keys = jax.random.split(key)
    segmenter, *others = setup.modules
    variables = network.init_segmenter(setup.modules[segmenter], keys[0], batch)
    features = network.evaluate(setup.modules[segmenter], variables, batch["image"]).features
    for name in others:
        part = network.init(name, setup.modules[name], keys[1], features)
        variables = network.merge(variables, part)
    if setup.plan.counted:
        counts = jnp.zeros((setup.num_raters, setup.num_classes, setup.num_classes))
        variables = {**variables, COLLECTION: {"counts": counts}}
    return variables


def _matrices(setup: _Setup, name: str, variables: base.Variables, features: Array) -> Array:
    cms, _ = network.run(name, setup.modules[name], variables, features)
    return jnp.broadcast_to(cms, (features.shape[0], *cms.shape[1:]))


def _loss(setup: _Setup, variables, batch, key, step):
    modules, plan = setup.modules, setup.plan
    keys = base.dropout_keys(key, batch["id"], step)
    output, state = network.segment(modules["segmenter"], variables, batch, keys)
    features = stop_gradient_unless(output.features, step >= plan.joint_from)
    examples = {name: batch[name] for name in ("labels", "rater_mask")}
    examples["logits"] = output.logits
    if "annotators" not in modules:
        known = ignored.known(batch["truth"])[:, None]
        examples["labels"] = jnp.where(known, batch["labels"], ignored.IGNORE)
        to_cms = functools.partial(confusion.one_hot_cms, num_classes=setup.num_classes)
        examples["cms"] = jax.vmap(to_cms)(batch["truth"], batch["labels"])
    for name, field in (("annotators", "cms"), ("coins", "consensus_cms")):
        if name in modules:
            examples[field] = _matrices(setup, name, variables, features)
    if plan.counted:
        examples |= _from_counts(variables[COLLECTION]["counts"], batch["labels"], plan)
    terms = jax.vmap(functools.partial(_terms, plan=plan, step=step))(examples)
    metrics = {"nll": terms.nll, "trace": terms.trace}
    losses = _total(terms, plan, step)
    total, (weight, aux) = base.weighted(losses, batch["weight"], metrics, state)
    if plan.counted:
        joint_counts = jnp.einsum("b,brij->rij", batch["weight"], terms.joint_counts)
        aux = aux._replace(records={"joint_counts": joint_counts, "weight": weight})
    return total, (weight, aux)


def _record(model_state: dict[str, Any], records: Any, step: Array) -> dict[str, Any]:
    del step
    counts = dawid_skene.update_counts(model_state[COLLECTION]["counts"], **records)
    return {**model_state, COLLECTION: {"counts": counts}}


def _predict(setup: _Setup, variables: base.Variables, image: Array) -> base.Prediction:
    output = network.evaluate(setup.modules["segmenter"], variables, image)
    probs = jax.nn.softmax(output.logits)
    if "annotators" not in setup.modules:
        return base.Prediction(probs)
    cms = _matrices(setup, "annotators", variables, output.features)
    cms = jnp.broadcast_to(cms, (*cms.shape[:2], *image.shape[1:-1], *cms.shape[-2:]))
    return base.Prediction(probs, cms, jax.vmap(confusion.mix)(probs, cms))


def _total(terms: _Terms, plan: _Plan, step: Array) -> Array:
    labels = terms.nll + plan.trace_weight * terms.trace
    labels = jnp.where(step < plan.warmup_steps, terms.identity, labels)
    return labels + plan.consensus_weight * terms.consensus + terms.one_coin_nll


def _terms(example: dict[str, Array], *, plan: _Plan, step: Array) -> _Terms:
    logits, cms, labels, mask = (example[n] for n in ("logits", "cms", "labels", "rater_mask"))
    given = ignored.given(labels, mask)
    labelled = given.any(0)
    diagonal = jnp.diagonal(cms, axis1=-2, axis2=-1)
    surprise = -jnp.log(jnp.maximum(diagonal, jnp.finfo(cms.dtype).tiny)).sum(-1)
    mean = fusion.mean(labels, logits.shape[-1], rater_mask=mask)
    target, one_coin_nll, joint_counts = mean, jnp.zeros(()), jnp.zeros(())
    if "consensus_cms" in example:
        scores = _scores(example, plan, step)
        agreed = jax.nn.one_hot(jnp.argmax(scores, axis=-1), logits.shape[-1])
        agreed *= labelled[..., None]
        target = jnp.where(step < plan.warmup_steps, mean, agreed)
        if plan.counted:
            posterior = jnp.where(step < _FIRST_STEPS, mean, jax.nn.softmax(scores))
            # A label alone agrees with any matrix.
            several = mask.sum() > 1
            joint_counts = several * dawid_skene.joint_counts(labels, posterior, mask)
            target = jnp.where(several, target, mean)
        else:
            one_coin_nll = _one_coin_nll(logits, example["consensus_cms"], labels, mask)
    seen = stop_gradient_unless(logits, step >= plan.joint_from)
    return _Terms(
        nll=ignored.mean(confusion.mixed_nll(seen, cms, labels, rater_mask=mask).sum(0), labelled),
        trace=_sum_of_raters(confusion.trace(cms), given),
        identity=_sum_of_raters(surprise, given),
        consensus=entropy.mean_soft_cross_entropy(logits, target),
        one_coin_nll=one_coin_nll,
        joint_counts=joint_counts,
    )


def _sum_of_raters(values: Array, given: Array) -> Array:
    """Adds what is of each rater, ``[R, *#S]``, where they labelled; mean over labelled pixels."""
    labelled, space = given.any(0), tuple(range(1, given.ndim))
    if values.shape == given.shape:
        return ignored.mean(jnp.where(given, values, 0.0).sum(0), labelled)
    # The same everywhere: it counts by how much of the labelled part a rater labelled.
    share = given.sum(space) / jnp.maximum(labelled.sum(), 1)
    return (values.reshape(-1) * share).sum()


def stop_gradient_unless(x: Array, flag: Bool[Array, ""]) -> Array:
    """Returns x; its gradient passes only where the flag is true."""
    return jnp.where(flag, x, jax.lax.stop_gradient(x))


def _from_counts(counts: Array, labels: Array, plan: _Plan) -> dict[str, Array]:
    """Each example's matrices of the consensus, ``[B, R, 1.., L, L]``, and prior, ``[B, L]``."""
    cms = dawid_skene.matrices(counts, min_error_rate=plan.min_error_rate)
    cms = jnp.expand_dims(cms, (0, *range(2, labels.ndim)))
    fields = {"consensus_cms": cms, "log_prior": dawid_skene.log_prior(counts)[None]}
    return {
        name: jnp.broadcast_to(array, (labels.shape[0], *array.shape[1:]))
        for name, array in fields.items()
    }


def _scores(example: dict[str, Array], plan: _Plan, step: Array) -> Array:
    """The E-step: log-probability of each class up to a constant, ``[*S, L]``, without gradient."""
    logits, imputed = example["logits"], {}
    if plan.imputed_weight:
        imputed["imputed_labels"] = confusion.mix(jax.nn.softmax(logits), example["cms"])
        # Before, matrices repeat the network, which would only confirm itself.
        weight = jnp.where(step < plan.joint_from, 0.0, plan.imputed_weight)
        imputed["imputed_weight"] = weight
    scores = dawid_skene.log_likelihood(
        example["consensus_cms"], example["labels"], example["rater_mask"], **imputed
    )
    trust = plan.consensus_prior
    if "log_prior" in example:
        # A network that has learnt nothing yet knows less than the frequencies of the classes.
        trust = jnp.where(step < plan.warmup_steps, 0.0, trust)
        prior = example["log_prior"].reshape((1,) * (logits.ndim - 1) + (-1,))
        scores += (1 - trust) * prior
    return jax.lax.stop_gradient(scores + trust * jax.nn.log_softmax(logits))


def _one_coin_nll(logits: Array, one_coin_matrices: Array, labels: Array, mask: Array) -> Array:
    """The M-step by gradient: error rates are how often raters differ from the network."""
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])
    # Logits so far apart that the prediction counts as certain.
    nlls = confusion.mixed_nll(1e3 * predicted, one_coin_matrices, labels, rater_mask=mask)
    return ignored.mean(nlls.sum(0), ignored.given(labels, mask).any(0))
