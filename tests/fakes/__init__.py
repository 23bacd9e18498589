"""Stand-ins that many tests share."""
