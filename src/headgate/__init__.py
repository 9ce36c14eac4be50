"""Headgate: one OpenAI-compatible front door, any number of upstreams behind it."""

__version__ = "0.1.0"
