"""What can be seen of queues while they run: loads, counters, and samples for forecasts.

Start with loads.py. Nothing here changes a job.
"""
