"""ONNX files: the graph of MindSpore's operators as ONNX's, and jax2onnx where a row is missing."""
