"""Graphs: the ONNX that a stage is, written operation by operation. Start with stage.py.

What is written here decides whether a row's bits depend on its neighbours (ADR 0044).
"""
