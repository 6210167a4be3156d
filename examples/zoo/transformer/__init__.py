"""The Transformer: letters are read all at once, and spoken one phoneme after another.

The encoder's letters attend to each other. The decoder's phonemes attend to those before them, and
by cross-attention to the letters: the map of who looked at what is an output. The graph is cut in
two by `penstock shard`, and a Python model searches for the best pronunciation by calling it.
"""
