"""Jobs: into the queue, to a worker, and out again.

Start with types.py, the values; queue.py has the operations on them.
"""
