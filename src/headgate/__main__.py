"""`python -m headgate` is `headgate`."""

from __future__ import annotations

from headgate.cli import main

main()
