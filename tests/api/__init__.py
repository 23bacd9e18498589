"""The objects people write: accepted and refused like upstream's, parsed, explained."""
