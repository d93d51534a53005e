"""Tables, plots and pages of measured results."""
