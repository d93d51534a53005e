"""Proofs of `maskrt serve`: overload, hostile clients, the latency it adds."""
