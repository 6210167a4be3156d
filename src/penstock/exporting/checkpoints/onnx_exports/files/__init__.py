"""ONNX files as they lie on disk, read as hostile input. Start with model_file.py."""
