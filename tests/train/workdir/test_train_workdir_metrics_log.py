import json
import math
import os
import signal
import threading

import pytest

from noisyjax.train.devices import signals
from noisyjax.train.workdir import metrics_log


def test_rows_are_json_lines_and_events(tmp_path):
    with metrics_log.MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 0.5, "seconds": 2.0})
        writer.write(2, {"loss": math.nan})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 1, "loss": 0.5, "seconds": 2.0}
    assert json.loads(lines[1]) == {"step": 2, "loss": None}
    assert list((tmp_path / "events").iterdir())


def test_resuming_takes_back_later_rows_and_a_torn_one(tmp_path):
    with metrics_log.MetricsWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"seconds": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    with metrics_log.MetricsWriter(tmp_path, step=2) as writer:
        assert writer.seconds == 2.0
        writer.write(3, {"seconds": 9.0})
    rows = metrics_log.read_metrics(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["seconds"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 9.0)]
    assert metrics_log.read_metrics(tmp_path / "absent.jsonl") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_request_is_noted_and_handlers_are_put_back(number, code):
    before = signal.getsignal(number)
    with signals.StopRequest() as stop:
        stop.exit_if_requested()
        os.kill(os.getpid(), number)
        assert stop.signal == number
        with pytest.raises(SystemExit) as ended:
            stop.exit_if_requested()
        assert ended.value.code == code
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_outside_of_the_main_thread_nothing_is_installed():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with signals.StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
