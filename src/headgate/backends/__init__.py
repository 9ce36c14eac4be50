"""How upstreams are reached: connections, addresses, credentials."""
