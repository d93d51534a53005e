"""Exported ONNX to TensorRT engines, for TensorRT and TensorRT-RTX, without torch.

    X.onnx --inline--> portable ONNX --parse--> network --build--> X.engine + X.engine.json

`builder.build_engine` is `maskrt build`, `layers.engine_report.engine_report` what `maskrt inspect`
says of an engine, `doctor.diagnose` is `maskrt doctor`. What differs between TensorRT's versions is
in `flavours`.
"""
