"""A real tiny request to each upstream, whole and as a stream, and plain words for what is wrong with it."""
