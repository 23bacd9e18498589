"""What the operator costs, measured on the project's own test bed and, in the same run, beside the peer that it replaces."""
