"""Engines embedded on this machine: programs of their own, and their supervision."""
