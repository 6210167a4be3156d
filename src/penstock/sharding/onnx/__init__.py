"""ONNX files: read as a graph, and cut into models of their own."""
