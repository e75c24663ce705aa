"""The client side: listeners, the reactor that watches connections, HTTP/1.1 on each of them, signals."""
