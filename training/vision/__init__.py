"""starter-vision: an eye for starter-chat."""
