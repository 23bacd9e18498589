"""Whole releases on real parts: the operator as a process, a real control plane, Contour and Envoy, Prometheus, and real clients."""
