"""Models timed under one protocol, and what a bench says beside its latencies."""
