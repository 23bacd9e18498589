"""The test bed: a real Kubernetes control plane, a real mesh and measured traffic on one Linux machine, without Docker."""
