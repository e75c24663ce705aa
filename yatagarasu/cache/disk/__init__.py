"""The disk tier: bodies as sparse files that describe themselves, an index beside them, bounds for both."""
