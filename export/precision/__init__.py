"""Which nodes compute in FP16 or INT8, how that is written, emulated and searched."""
