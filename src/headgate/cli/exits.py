"""How a command ends: the exit codes, which docs/cli.md promises. Knows no command."""

from __future__ import annotations

USAGE_ERROR = 2
"""Exit code when the command line or the configuration is wrong, as click has it."""
RUNTIME_ERROR = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
