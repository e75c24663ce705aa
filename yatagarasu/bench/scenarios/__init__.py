"""One module a scenario, or a few that are alike; each has what `bench.catalogue` lists."""
