"""`python -m tests.benchmarks.herds`: the README's herd table, measured: 50 clients on a cold key, real sockets.

The proxy and the embedded origin run in this process, the clients in another, so that their work is not ours.
"""

import json
import random
import sys

import trio

from tests.server.conftest import Proxy, run_proxy
from yatagarasu.bench.faults import Fault

MB = 1_000_000

# Runs in a process of its own: clients with plain sockets, one line of JSON for all of them.
CLIENT = """
import json, sys, time, trio
port, target, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
apart, leaves, rate = map(float, sys.argv[4:])
results = []
async def one(index):
    await trio.sleep_until(start + apart * index)
    began = time.perf_counter()
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"GET {target} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
        first, data, length = None, 0, None
        head = b""
        with trio.move_on_after(leaves if leaves and index == 0 else float("inf")):
            try:
                while True:
                    chunk = await stream.receive_some(65536)
                    if not chunk:
                        break
                    if length is None:
                        head += chunk
                        if b"\\r\\n\\r\\n" not in head:
                            continue
                        text, _, rest = head.partition(b"\\r\\n\\r\\n")
                        fields = text.split(b"\\r\\n")
                        length = next(int(line[15:]) for line in fields if line.startswith(b"content-length:"))
                        data, chunk = len(rest), rest
                    else:
                        data += len(chunk)
                    if first is None and data:
                        first = time.perf_counter() - began
                    if rate and index == 0:
                        await trio.sleep(len(chunk) / rate)
            except trio.BrokenResourceError:
                pass
        status = int(head[9:12]) if head else 0
        if not (leaves and index == 0):
            is_whole = length is not None and data == length and status == 200
            results.append([status, first, time.perf_counter() - began, is_whole])
async def main():
    global start
    start = trio.current_time() + 0.2
    async with trio.open_nursery() as nursery:
        for index in range(count):
            nursery.start_soon(one, index)
trio.run(main)
print(json.dumps(results))
"""


async def herd(
    proxy: Proxy, key: str, *, count: int = 50, apart: float = 0.0, leaves: float = 0.0, rate: float = 0.0
) -> list[list[float]]:
    arguments = [str(proxy.port), f"/b/{key}", str(count), str(apart), str(leaves), str(rate)]
    done = await trio.run_process([sys.executable, "-c", CLIENT, *arguments], capture_stdout=True)
    return json.loads(done.stdout)


def tell(name: str, proxy: Proxy, key: str, results: list[list[float]], *, asked_before: int = 0) -> None:
    first = sorted(result[1] for result in results if result[1] is not None)
    last = max(result[2] for result in results)
    complete = sum(bool(result[3]) for result in results)
    requests = proxy.origin.request_count(key) - asked_before
    middle = f"{first[len(first) // 2] * 1000:.0f}" if first else "-"
    late = f"{first[int(len(first) * 0.99)] * 1000:.0f}" if first else "-"
    statuses = sorted({int(result[0]) for result in results})
    print(
        f"{name}: {requests} requests, {complete} of {len(results)} complete, first byte p50 {middle} ms "
        f"p99 {late} ms, last done {last * 1000:.0f} ms, statuses {statuses}, "
        f"origin sent {proxy.origin.bytes_sent(key) / MB:.2f} MB",
        flush=True,
    )


async def main() -> None:
    async with run_proxy(coalescing={"stall_timeout": "2s"}) as proxy:
        small = random.Random(1).randbytes(10_240)
        store, faults = proxy.store, proxy.faults

        async def case(
            name: str, fault: Fault | None, *, size: int = 0, times: int | None = None, **herding: float
        ) -> None:
            key = name.replace(" ", "-")
            if size:
                store.put_pattern("bkt", key, size)
            else:
                store.put("bkt", key, small)
            if fault is not None:
                faults.add(fault, key=key, count=times)
            tell(name, proxy, key, await herd(proxy, key, **herding))  # type: ignore[arg-type]

        await case("cold 10 KiB, origin 200 ms, 200 clients", Fault(latency=0.2), count=200)
        await case("8 MB at 4 MB/s, clients 10 ms apart", Fault(bandwidth=4 * MB), size=8 * MB, apart=0.01)
        await case("cut after 1 of 4 MB", Fault(cut_after=1 * MB), size=4 * MB, times=1)
        await case("cut three times", Fault(cut_after=1 * MB), size=4 * MB, times=3)
        await case("first client leaves at 100 ms", Fault(latency=0.2), leaves=0.1)
        store.put("bkt", "private", small, headers={"cache-control": "private"})
        faults.add(Fault(latency=0.2), key="private")
        tell("private, 200 ms", proxy, "private", await herd(proxy, "private"))
        tell("private again", proxy, "private", await herd(proxy, "private"), asked_before=50)
        await case("one 503 then fine", Fault(status=503), times=1)
        await case("origin takes 7 s", Fault(latency=7.0))
        await case("first client reads at 200 KB/s", None, size=1 * MB, rate=200_000)
        await case("always 503", Fault(status=503))
        await case("always resets", Fault(reset_before_head=True))
        await case("silent stall after 1 of 4 MB, stall_timeout 2 s", Fault(stall_after=1 * MB), size=4 * MB, times=1)
        store.put("bkt", "expired", small, headers={"cache-control": "max-age=1"})
        await herd(proxy, "expired", count=1)
        await trio.sleep(2)
        faults.add(Fault(latency=0.2), key="expired")
        tell("expired", proxy, "expired", await herd(proxy, "expired"), asked_before=1)


if __name__ == "__main__":
    trio.run(main)
