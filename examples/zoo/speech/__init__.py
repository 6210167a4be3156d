"""Speech: a recurrent network listens to a stream, and says when somebody speaks.

Sound comes in pieces of 32 ms, each a request. What the network remembers, and the end of the piece
before, lie in the cluster: the client sends sound and nothing else, and any worker may answer. The
network is silero-vad, trained by others; the export moves the batch of its state to the front.
"""
