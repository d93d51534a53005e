"""What clients send, bounded before it costs anything."""
