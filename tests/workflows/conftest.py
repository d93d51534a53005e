"""The tiny artefact of tests/runtime, for what is written about its known instances."""

from ..runtime.conftest import tiny_contract, write_onnx

__all__ = ["tiny_contract", "write_onnx"]
