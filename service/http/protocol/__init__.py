"""HTTP/1.1 between a socket and an ASGI app, with a limit on everything that a client decides."""
