"""What operators see from outside: counters, log lines, traces. Told by gateway and edge through ports."""
