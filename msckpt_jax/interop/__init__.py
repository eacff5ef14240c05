"""The connections to the libraries of others."""
