"""Nodes, parameters and graphs; a graph is one Program."""
