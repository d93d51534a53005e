"""Raw outputs to `Instances`: masks, run lengths, suppression, drawing."""
