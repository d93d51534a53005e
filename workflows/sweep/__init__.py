"""Many training runs of one budget, and the tables made of them."""
