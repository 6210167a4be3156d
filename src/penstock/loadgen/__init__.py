"""The load generator: many concurrent requests from several processes, and what they waited.

``plan`` says what load to make, ``generator`` makes it in one process, ``fleet`` runs several of
these and merges what they counted, ``outcome`` is the result. ``requests`` fills a model's inputs
where the user gives none. ``table`` and ``plot`` show an outcome.

A base install suffices (grpcio, protobuf, numpy); tables and plots need rich and matplotlib. The
processes exchange lines of JSON and plain bytes.
"""
