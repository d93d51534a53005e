"""Latency, throughput and physical floors under one protocol."""
