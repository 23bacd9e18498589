"""Where numbers come from: one file per provider; query templates; sharing of queries."""
