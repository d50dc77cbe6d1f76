"""Where a server listens, who may ask it, and the environment's proxies."""
