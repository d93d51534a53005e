"""What the Open Inference Protocol calls the numbers that a contract may have."""

from __future__ import annotations

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""By numpy's name; Triton's configurations have TYPE_ before it."""
