"""The life of one request: router, pipeline, coalescer, flights and readers. Start with `pipeline`."""
