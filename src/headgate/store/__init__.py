"""What is kept on disk: keys and the journal."""
