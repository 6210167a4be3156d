"""Fronts: where clients come in. Each speaks one protocol, and knows nothing of queues.

Behind the door nobody knows gRPC or HTTP. Start with front.py, which says what a front is.
"""
