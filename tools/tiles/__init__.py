"""What tiles find in a large picture that the whole does not show, and the memory they take."""
