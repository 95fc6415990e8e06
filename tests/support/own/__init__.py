"""What a user may add without touching the package, each in one file."""
