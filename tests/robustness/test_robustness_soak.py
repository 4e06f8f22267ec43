import pytest
import soak


@pytest.mark.slow
def test_a_run_that_is_killed_comes_to_the_same_bits(tmp_path):
    report = soak.soak(tmp_path, steps=120, kills=2, seed=0)
    print(f"killed after the steps {report.steps_at_kill}; {report.slope:+.0f} KiB per 1,000 steps")
    assert report.same
    # One of the moments is a time, by which a fast machine has come to the end.
    assert report.kills >= 1
    assert len(report.rss) == 120
