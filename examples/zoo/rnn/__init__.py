"""Recurrent networks: a network with a memory, which the cluster keeps from call to call.

An Elman network reads a series one value at a time. Its hidden state h' = tanh(U x + W h + b) is
all that it remembers; the forecast is read from it. Here the state lies in the cluster: each
request brings one year, and names the sequence that it belongs to.
"""
