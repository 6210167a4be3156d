"""What all kinds of the zoo need: where things lie, how they are exported, compared and drawn."""
