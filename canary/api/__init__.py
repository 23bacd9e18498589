"""The objects people write: pydantic models, the single source of crds/ and of the reference pages."""
