"""The folder that an export writes: manifest, files, and who can run it."""
