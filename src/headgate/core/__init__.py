"""Pure parts: records, JSON, SSE, errors, usage, ports. No sockets, no loop, no clock, no environment."""
