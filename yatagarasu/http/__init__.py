"""Sans-IO HTTP: what RFC 9110, 9111 and 9112 say about messages, as pure functions. Time comes in as `now`."""
