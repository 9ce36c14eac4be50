"""Pictures and other media: fetched safely, looked at, kept for a while, served by links."""
