"""Everything that talks to the API server: credentials, a thin async JSON client, the watch cache, events, leases."""
