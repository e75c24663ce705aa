"""Benchmarks: the embedded S3 origin with its faults, a load generator, scenarios, and what they found.

**Plan** a load · **result** what one run of a load found · **scenario** something worth measuring, with parameters ·
**row** a line of a report: one case of a scenario, run several times · **report** all rows of one `bench`.
"""
