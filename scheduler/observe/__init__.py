"""What can be seen of queues and jobs while they run. Nothing here changes them."""
