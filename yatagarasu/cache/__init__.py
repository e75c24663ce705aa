"""What is stored: entries, bodies and their extents, the rules of reuse, and the tiers that hold them."""
