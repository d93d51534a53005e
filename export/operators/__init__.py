"""The custom operators as ONNX local functions of standard operators."""
