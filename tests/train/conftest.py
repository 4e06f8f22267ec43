import pytest
import train_fakes


@pytest.fixture
def fakes(monkeypatch):
    """The fake source, network and method by their names; gone again after the test."""
    from noisyjax import methods, models
    from noisyjax.data import sources

    for registry in (sources.SOURCES, models.MODELS, methods.METHODS):
        for name in ("fake", "none"):
            # So that it is gone after the test.
            monkeypatch.setitem(registry, name, None)
            del registry[name]
    train_fakes.install()
