"""ONNX exports of others as checkpoints: their weights are found by walking the graph.

Start with folder.py. decoder.py walks, attention_trial.py computes what lies between the weights,
in numpy: nothing of a checkpoint is executed, and no runtime is given its graph.
"""
