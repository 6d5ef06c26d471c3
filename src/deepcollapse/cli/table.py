"""Tables in the terminal: words wrap, numbers never do."""

import shutil
from collections.abc import Iterable, Sequence

LONGEST_WORD = 12  # a longer one is broken, where there is no room for it
BETWEEN = 3  # blanks between columns; one stands before the first


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table that fits the terminal; the columns numbered in `right` are numbers, and the first a name.

    Words wrap where the terminal is narrow, those of the name last. Numbers are never cut, nor is a word of a heading:
    where not even these fit, lines are longer than the terminal is wide.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [[*row] for row in rows]
    cells = [[line[number] for line in lines] for number in range(len(columns))]
    natural = [max(_width(head), *map(_width, column), 1) for head, column in zip(columns, cells, strict=True)]
    least = [_least(columns[i], cells[i], natural[i], i in right) for i in range(len(columns))]
    around = BETWEEN * len(columns)
    widths = fitted_widths(natural, least, shutil.get_terminal_size().columns - around)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        align = "right" if number in right else "left"
        table.add_column(column, justify=align, width=widths[number], overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    console = Console(highlight=False, width=sum(widths) + around)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n"))


def fitted_widths(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths of columns that fit the room: the widest give way first, the first one last, and none below its least.

    >>> fitted_widths([6, 30, 20, 5], [4, 8, 8, 5], 40), fitted_widths([6, 30], [4, 8], 13), fitted_widths([9], [5], 1)
    ([6, 15, 14, 5], [5, 8], [5])
    """
    widths = [*natural]
    for giving in (range(1, len(widths)), range(1)):
        while sum(widths) > room and (able := [i for i in giving if widths[i] > least[i]]):
            widths[max(able, key=lambda i: (widths[i], i))] -= 1
    return widths


def _least(head: str, cells: Sequence[str], natural: int, is_number: bool) -> int:
    """How narrow a column may become: numbers and words of headings are whole, and other words where they are short."""
    of_head = max(map(_width, head.split()), default=1)
    if is_number:
        return max(of_head, *map(_width, cells), 1)
    longest = max((_width(word) for cell in cells for word in cell.split()), default=1)
    return min(natural, max(of_head, min(longest, LONGEST_WORD)))


def _width(text: str) -> int:
    """Of the widest line."""
    from rich.cells import cell_len

    return max(map(cell_len, text.splitlines()), default=0)
