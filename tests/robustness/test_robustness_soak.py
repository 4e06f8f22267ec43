import pytest
import soak


@pytest.mark.slow
def test_a_run_that_is_killed_comes_to_the_same_bits(tmp_path):
    found = soak.soak(tmp_path, steps=120, kills=2, seed=0)
    print(f"killed after the steps {found.steps_at_kill}; {found.slope:+.0f} KiB per 1,000 steps")
    assert found.same
    # One of the moments is a time, by which a fast machine has come to the end.
    assert found.kills >= 1
    assert len(found.rss) == 120
