"""ONNX files as networks, run by onnxruntime: the way in for models of PyTorch and others."""
