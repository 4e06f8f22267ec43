"""The program of our side gives the training what is left of the processor time."""

import time

import noisyjax
from noisyjax.benchmarks.side_by_side import our_program


def test_the_budget_is_processor_time(monkeypatch):
    given = {}

    def train_folds(folder, out, **options):
        given.update(options, folder=folder, out=out, clock=time.perf_counter)

    monkeypatch.setattr(noisyjax, "train_folds", train_folds)
    monkeypatch.setattr(time, "perf_counter", time.perf_counter)
    before = time.process_time()
    our_program.train("cases", "plan.json", "run", 300.0, 2, "cm_trace")
    assert given["clock"] is time.process_time
    assert before <= 300 - given["budget"] <= time.process_time()
    assert (given["folder"], given["out"], given["folds"]) == ("cases", "run", 1)
    assert given["plan"] == "plan.json"
    assert (given["seed"], given["method"]) == (2, "cm_trace")
