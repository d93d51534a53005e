"""What runs an artefact: ONNX Runtime, OpenVINO, TensorRT, behind one interface."""
