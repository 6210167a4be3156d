"""Models written for Triton's Python backend: the class `TritonPythonModel`, run unchanged.

Start with model.py, which loads one and calls it; backend_utils.py is the module that it imports.
"""
