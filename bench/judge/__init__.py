"""What the sequential judge is worth: simulated releases, judged by it, by the peer's counter of failed checks and by a rank test."""
