"""Settings of recipes as people write them."""

import re


def exact(value: float) -> str:
    """A number in the fewest digits from which it is read back, without the signs and zeros that can be left out.

    >>> exact(1e-05), exact(1.0), exact(1e30), exact(0.1 + 0.2)
    ('1e-5', '1', '1e30', '0.30000000000000004')
    """
    return re.sub(r"e\+?(-?)0*", r"e\1", repr(float(value)).removesuffix(".0"))
