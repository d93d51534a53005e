"""The other end of the Open Inference Protocol: a server's model as a session."""
