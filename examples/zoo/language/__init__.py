"""Language: sentences as points, so that a question lies near the passage that answers it.

A Transformer encoder reads a passage's word pieces, each attending to all others; the mean of what
it makes of them is the passage's place in 384 dimensions. It was trained by others
(all-MiniLM-L6-v2); here it becomes an ensemble of tokenizer, encoder and pooling, to which clients
send text.
"""
