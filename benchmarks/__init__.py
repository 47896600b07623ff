"""What a step costs: `make bench`, or `python -m benchmarks --help`."""
