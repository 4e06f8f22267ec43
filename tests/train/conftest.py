import pytest
import train_fakes


@pytest.fixture(scope="module")
def fakes():
    """The fake source, network and method by their names; gone again after the module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        train_fakes.install(patch)
        yield
