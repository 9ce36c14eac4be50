"""The operator's side: health now; the operator's API will live here. All of it is ASGI."""
