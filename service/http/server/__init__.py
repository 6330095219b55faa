"""The HTTP/1.1 server: uvicorn with limits on what a client may take. It imports nothing else of `http`."""
