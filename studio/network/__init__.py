"""How the studio meets the network: the address it listens at, and the proxies that the person's environment names."""
