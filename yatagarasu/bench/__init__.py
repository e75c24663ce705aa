"""Benchmarks: the embedded S3 origin with its faults; load generator, scenarios and reports come with issue 4."""
