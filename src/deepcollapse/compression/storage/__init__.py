"""Weights of few values as Huffman codes: containers, products with them, and what they take."""
