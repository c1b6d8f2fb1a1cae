"""Settings that a test changes are those of the next one no more."""
from tests.fresh import fresh  # noqa: F401
