import logging
import math
import struct

from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from noisyjax.train.workdir import tensorboard


def read(folder):
    """Reads (step, name, value) as TensorBoard does: by name of file, taking back what is told."""
    events = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            data = content[12 : 12 + size]
            assert struct.unpack("<I", content[8:12])[0] == record_writer.masked_crc32c(content[:8])
            end = struct.unpack("<I", content[12 + size : 16 + size])[0]
            assert end == record_writer.masked_crc32c(data)
            content = content[16 + size :]
            event = event_pb2.Event.FromString(data)
            if event.session_log.status == event_pb2.SessionLog.START:
                events = [row for row in events if row[0] < event.step]
            events += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return events


def test_numbers_come_back_at_once(tmp_path):
    writer = tensorboard.EventsWriter(tmp_path / "events")
    writer.write(3, {"loss": 0.5, "val_dice": 0.25})
    assert read(tmp_path / "events") == [(3, "loss", 0.5), (3, "val_dice", 0.25)]
    writer.close()


def test_what_is_undefined_is_written_quietly(tmp_path, caplog):
    writer = tensorboard.EventsWriter(tmp_path)
    with caplog.at_level(logging.DEBUG):
        writer.write(1, {"val_dice_sd": math.nan, "worst": math.inf})
    writer.close()
    assert str(read(tmp_path)) == "[(1, 'val_dice_sd', nan), (1, 'worst', inf)]"
    assert caplog.text == ""


def test_a_part_of_a_run_takes_back_what_stands_after_its_start(tmp_path):
    parts = [(0, (1, 2, 3)), (2, (3, 4, 5)), (4, (5, 6)), (1, (2, 3))]
    for number, (start, steps) in enumerate(parts):
        writer = tensorboard.EventsWriter(tmp_path, step=start)
        for step in steps:
            writer.write(step, {"part": float(number)})
        writer.close()
        if number == 2:
            events = [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)]
            assert [(step, value) for step, _, value in read(tmp_path)] == events
    assert [(step, value) for step, _, value in read(tmp_path)] == [(1, 0), (2, 3), (3, 3)]


def test_files_of_other_writers_stay(tmp_path):
    other = tmp_path / "events.out.tfevents.1700000000.host"
    other.write_bytes(b"")
    tensorboard.EventsWriter(tmp_path).close()
    assert other.exists()
