"""Data, training and export of `starter-chat`, the first starter model."""
