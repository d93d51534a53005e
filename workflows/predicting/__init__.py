"""What `predict` is made of: whose overlay goes where, what is drawn, the loop, the results."""
