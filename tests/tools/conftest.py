"""The scripted predictor of tests/eval."""

from ..eval.conftest import scripted

__all__ = ["scripted"]
