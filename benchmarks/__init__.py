"""Measurements that are worth repeating: `python -m benchmarks.NAME [--quick] [--format json]`."""
