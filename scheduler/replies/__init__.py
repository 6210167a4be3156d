"""Replies: from workers back to the gateway that asks."""
