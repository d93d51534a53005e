"""What machine a result was measured on."""
