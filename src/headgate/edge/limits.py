"""Limits of the edge that no operator has a reason to change; the others are settings."""

DISCARD_BYTES = 65_536
"""A refused request's body up to this size is read and dropped, so that the connection can be kept."""

LINGER_S = 2.0
"""How long we read on after refusing a larger body: closing at once would reset the reply away."""

PIPELINED = 16
"""Requests waiting behind the current one before we stop reading."""

WRITE_BUFFER_BYTES = 65_536
"""Unsent reply bytes at which the upstream is paused."""

JOIN_BYTES = 262_144
"""Replies below this leave as one buffer: copying them costs less than a second write."""

INFLATE_STEP_BYTES = 262_144
"""Unpacked between two turns of the loop: about a millisecond of zlib."""

TICK_S = 0.5
"""Step of the coarse clock: no limit on a connection is shorter than seconds."""

BACKLOG = 4096
"""Connections the kernel may hold before we accept them; a burst of clients should not see a reset."""
