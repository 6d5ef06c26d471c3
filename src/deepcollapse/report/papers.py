"""The papers that studies are of: authors with year, and where they are read. Held equal to docs/references.bib."""

PAPERS: dict[str, tuple[str, str]] = {
    "date2020": ("Date et al. 2020", "https://arxiv.org/abs/2009.00540"),
    "fang2021": ("Fang et al. 2021", "https://arxiv.org/abs/2101.12699"),
    "feng2022": ("Feng et al. 2022", "https://arxiv.org/abs/2206.06072"),
    "galanti2025": ("Galanti et al. 2025", "https://arxiv.org/abs/2206.05794"),
    "marino2021": ("Marinò et al. 2021", "https://arxiv.org/abs/2108.12704"),
    "papyan2020": ("Papyan, Han & Donoho 2020", "https://arxiv.org/abs/2008.08186"),
    "sukenik2024": ("Súkeník, Lampert & Mondelli 2024", "https://arxiv.org/abs/2405.14468"),
    "zangrando2024": ("Zangrando et al. 2024", "https://arxiv.org/abs/2402.03991"),
}
