"""The address at which the page listens, and the proxies that the environment names."""
