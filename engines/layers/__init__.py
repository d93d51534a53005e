"""What an engine's layers are, in which precision and for how long they run."""
