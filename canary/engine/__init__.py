"""The running operator: what wakes a canary, how one tick observes, decides and acts."""
