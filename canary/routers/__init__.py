"""How traffic moves: one file per mesh; the mesh's built-in queries live on its router."""
