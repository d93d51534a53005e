"""The service of tests/serving/service."""

from ...runtime.conftest import tiny_contract, write_onnx
from ..service.conftest import start

__all__ = ["start", "tiny_contract", "write_onnx"]
