"""What several tests need: a proxy that counts round trips, processes that start together, a look at locks."""
