"""The tables of docs/measured.md, from the records of `eval/records`."""
