"""Small configurations of real architectures, by the packages that have them."""
