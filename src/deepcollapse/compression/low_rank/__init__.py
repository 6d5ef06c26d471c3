"""Weights as products of smaller ones: which rank, with which factors, in which layers."""
