"""Other libraries' networks, run by themselves and held against ours."""
