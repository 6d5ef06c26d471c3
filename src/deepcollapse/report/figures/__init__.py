"""One figure a file; each gives plain data for plotly, which the page's script draws."""
