"""What is wrong with labelled pictures: `maskrt data check`, and what it shares with the reader."""
