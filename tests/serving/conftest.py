"""The tiny artefact of tests/runtime, whose instances are known."""

from ..runtime.conftest import tiny_contract, write_onnx

__all__ = ["tiny_contract", "write_onnx"]
