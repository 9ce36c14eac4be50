"""Limits of the edge that no operator has a reason to change; the others are settings."""

DISCARD_BYTES = 65_536
"""A refused request's body up to this size is read and dropped, so that the connection can be kept."""

LINGER_S = 2.0
"""How long we wait for more after refusing a larger body: closing at once would reset the reply away."""

LINGER_MOST_S = 30.0
"""How long in all, while more comes: on a slow line a client reads our reply once its buffers are empty."""

STALL_S = 120.0
"""A client that takes no byte of its reply for this long is given up: its upstream is held all the while."""

BITE_BYTES = 8192
"""Parsed at a time where more was read: one read may hold ten thousand requests."""

REFUSED_CONNECTIONS = 256
"""Connections over the limit that are told so; further ones are dropped unheard."""

LEARNINGS = 8
"""Heads that are learnt on one connection: one that differs every time (a trace's id) is not worth it."""

FULL_BYTES = 131_072
"""After a read of this size others have a turn: the loop would read on up to 32 times while more waits."""

PIPELINED = 16
"""Requests waiting behind the current one before we stop reading."""

WRITE_BUFFER_BYTES = 65_536
"""Unsent reply bytes at which the upstream is paused."""

JOIN_BYTES = 262_144
"""Replies below this leave as one buffer: copying them costs less than a second write."""

INFLATE_READ_BYTES = 65_536
"""Packed bytes taken at a time, for zlib copies what it has not used."""

INFLATE_STEP_BYTES = 131_072
"""Unpacked between two turns of the loop: about a millisecond of zlib."""

TICK_S = 0.5
"""Step of the coarse clock: no limit on a connection is shorter than seconds."""

BACKLOG = 4096
"""Connections the kernel may hold before we accept them; a burst of clients should not see a reset."""
