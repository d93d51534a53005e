"""What trainings are worth, measured for hours by commands that go on where they stopped."""
