"""Git tells the truth: what happened to a release is recorded, and a rejected version goes back."""
