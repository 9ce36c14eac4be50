"""How the starter models are made and scored; nothing in the gateway imports this."""
