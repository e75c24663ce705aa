"""The admin listener: metrics, health, readiness; never reachable through the public one."""
