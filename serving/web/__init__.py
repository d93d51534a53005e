"""The application and what surrounds each of its requests."""
