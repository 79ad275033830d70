"""Steering vectors that admins upload and remove: their files, and the engine that reads them."""
