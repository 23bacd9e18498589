"""What to expect of a release before it is made, and what the judge would have said of one that was: pure, seeded, from the operator's own rules."""
