"""A network that nothing teaches is noticed while it trains and at its end."""

import json

import jax.numpy as jnp
import pytest
import train_fakes
from absl import logging

from noisyjax import methods, train
from noisyjax.methods import base
from noisyjax.train.evaluation import starvation

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def warnings(monkeypatch):
    """What is warned of, in order."""
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    return said


def test_the_shares_by_hand():
    rows = [
        {"step": 10, "train_learning": 1.0},
        {"step": 10, "val_dice": 0.5},
        {"step": 30, "train_learning": 0.05},
        {"step": 40, "train_learning": 0.0},
    ]
    # 10 updates with every example, 20 with a twentieth, which is enough, 10 with none.
    assert starvation.of_rows(rows) == {"learning": 11 / 40, "starved_steps": 10.0}
    assert starvation.of_rows([{"step": 8, "train_loss": 0.0}]) == {}


def test_the_first_starved_window_is_said_once(warnings):
    noticed = starvation.notice(3, {"learning": 0.5}, noticed=False)
    assert not noticed
    assert not starvation.notice(4, {"loss": 1.0}, noticed=noticed)
    noticed = starvation.notice(5, {"learning": 0.01}, noticed=noticed)
    assert noticed
    assert starvation.notice(6, {"learning": 0.0}, noticed=noticed)
    assert starvation.notice(7, {"learning": 1.0}, noticed=noticed)
    assert len(warnings) == 1
    assert warnings[0].startswith("step 5: 1.0 % of the last examples teach")


def test_a_run_says_so_in_its_summary(tmp_path, monkeypatch, warnings):
    def starving(segmenter=None, **options):
        method = train_fakes.method(segmenter, **options)

        def loss_fn(variables, batch, key, step):
            total, (count, aux) = method.loss_fn(variables, batch, key, step)
            taught = jnp.where(step < 4, count, 0.0)
            return total, (count, aux._replace(metrics=aux.metrics | {"learning": (taught, count)}))

        return base.Method(method.init, loss_fn, method.predict, method.param_labels)

    monkeypatch.setitem(methods.METHODS, "fake", starving)
    _, summary = train.train_and_evaluate(train_fakes.config(), tmp_path)
    # Three epochs of four updates, one window each; the first epoch is taught.
    assert summary["learning"] == pytest.approx(1 / 3)
    assert summary["starved_steps"] == 8
    assert json.loads((tmp_path / "summary.json").read_text())["starved_steps"] == 8
    assert [text.split(":")[0] for text in warnings if "teach" in text] == ["step 5"]
    (said,) = (text for text in warnings if "taught" in text)
    assert said.startswith("in 8 of 12 updates fewer than 5 % of the examples taught")
    assert "(33.3 % in all)" in said
