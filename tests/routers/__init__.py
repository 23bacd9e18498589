"""Routers: from a release and weights to the mesh's objects, and back."""
