"""HTTP faces of the operator: health and metrics."""
