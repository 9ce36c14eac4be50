"""How bytes reach us: the HTTP/1.1 server and the ASGI bridge."""
