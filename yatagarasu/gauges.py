"""Numbers that are read off the parts when somebody looks, for /metrics."""

from collections.abc import Callable

from yatagarasu.cache.disk.tier import DiskTier
from yatagarasu.cache.tiers import Tier
from yatagarasu.observe.access_log import AccessLog
from yatagarasu.observe.log import Log
from yatagarasu.observe.metrics import Metrics
from yatagarasu.proxy.coalescer import Coalescer


def register_core(
    metrics: Metrics,
    *,
    open_connections: Callable[[], int],
    coalescer: Coalescer,
    memory: Tier,
    access_log: AccessLog,
    log: Log,
    configured_at: Callable[[], float],
) -> None:
    """What every process has."""
    gauge, counter, statistics = metrics.gauge, metrics.counter, memory.statistics
    gauge("yatagarasu_connections_open", "Client connections open.", open_connections)
    gauge("yatagarasu_flights", "Origin fetches in progress.", lambda: len(coalescer.flights))
    gauge("yatagarasu_waiters", "Clients waiting for a fetch's head.", lambda: coalescer.waiting)
    gauge("yatagarasu_memory_bytes", "Bytes held by the memory tier.", lambda: statistics().bytes)
    gauge("yatagarasu_memory_max_bytes", "Bytes the memory tier may hold.", lambda: statistics().max_bytes)
    gauge("yatagarasu_memory_entries", "Entries in the memory tier.", lambda: statistics().entries)
    name = "yatagarasu_config_loaded_timestamp_seconds"
    gauge(name, "When the config was read.", configured_at, merge="max")
    counter("yatagarasu_access_log_dropped", "Access-log lines lost.", lambda: access_log.dropped)
    counter("yatagarasu_log_dropped", "Events that nobody took.", lambda: log.dropped)
    counter("yatagarasu_memory_evictions", "Entries that left to make room.", lambda: statistics().evictions)


def register_disk(metrics: Metrics, disk: DiskTier) -> None:
    """What a process with a disk tier has besides; of several, each counts the keys that it owns."""
    gauge, counter, statistics = metrics.gauge, metrics.counter, disk.statistics
    gauge("yatagarasu_disk_bytes", "Bytes on disk.", lambda: statistics().bytes)
    name = "yatagarasu_disk_max_bytes"
    gauge(name, "Bytes that may be on disk.", lambda: disk.settings.max_size, merge="max")
    gauge("yatagarasu_disk_entries", "Entries on disk.", lambda: statistics().entries)
    gauge("yatagarasu_disk_pending", "Changes not yet written to disk.", lambda: statistics().pending)
    gauge("yatagarasu_disk_open_files", "Files of the disk tier that are open.", lambda: statistics().open_files)
    counter("yatagarasu_disk_evictions", "Entries that left the disk to make room.", lambda: statistics().evictions)
    counter("yatagarasu_disk_errors", "Failures of the file system or the index.", lambda: disk.health.errors)
    counter("yatagarasu_disk_damaged", "Files that were damaged, and are gone.", lambda: disk.health.damaged)
