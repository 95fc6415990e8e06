"""Cost curves of groups, and choices over them."""
