"""Word vectors: a word is known by the company it keeps (word2vec, GloVe).

Each word gets a vector such that words with the same neighbours have nearly the same one. Word2vec
learns to tell neighbours of a word from words drawn at random; GloVe learns vectors whose products
are the logarithms of how often words meet. Both read what WordNet says that its words mean, and
both are held against counting alone, on how alike people find pairs of words.
"""
