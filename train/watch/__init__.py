"""What looks at a run and changes nothing in it: terminal, logs, evaluations, pages."""
