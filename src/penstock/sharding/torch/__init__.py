"""PyTorch modules: exported, read as a graph, and cut into programs of their own."""
