"""Language models: what a step takes in a cluster, and the gap where a worker is killed.

llama.cpp stands beside them in `peer`. Begin with `steps`.
"""
