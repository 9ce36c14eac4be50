"""starter-image: draws a coloured shape from words, and changes a picture of one."""
