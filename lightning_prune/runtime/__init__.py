"""What runs inside compact models; it imports nothing else of this package but errors."""
