"""A page's HTML as a tree, as a browser would see it: elements by their tag and class, and their text."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "img", "input", "hr"}


class Element:
    """An element: its tag, attributes, parts in order (elements and texts)."""

    def __init__(self, tag, attributes=()):
        self.tag, self.attributes, self.parts = tag, dict(attributes), []

    @property
    def text(self):
        """All text inside, with single spaces."""
        return " ".join(self._whole().split())

    def _whole(self):
        return "".join(part if isinstance(part, str) else part._whole() for part in self.parts)

    def all(self, selector):
        """The elements inside that a selector such as "td.number" or ".badge" names, in order."""
        tag, _, kind = selector.partition(".")
        found = []
        for part in self.parts:
            if isinstance(part, Element):
                classes = part.attributes.get("class", "").split()
                if part.tag == (tag or part.tag) and (not kind or kind in classes):
                    found.append(part)
                found += part.all(selector)
        return found

    def one(self, selector):
        """The only element of its kind."""
        [found] = self.all(selector)
        return found

    def texts(self, selector):
        """The texts of these elements."""
        return [element.text for element in self.all(selector)]


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = [Element("page")]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, attrs)
        self.open[-1].parts.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].parts.append(data)


def tree(page):
    """The page as a tree; asserts that every element is closed where it should be."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert [element.tag for element in reader.open] == ["page"]
    return reader.open[0]
