"""What the peer decides, tick by tick: scripted releases, recorded from its own binary on a real control plane."""
