"""What writing back to Git costs: drift and throughput against a real Git server; see `__main__`."""
