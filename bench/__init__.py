"""The bench: measures Headgate, paired in one run, against nginx and other gateways."""
