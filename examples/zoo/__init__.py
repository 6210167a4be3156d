"""The zoo: every kind of network of the textbooks, trained on real data, served, and looked at."""
