"""The tables of options in docs/kafka.md and docs/pool.md, made of the comments of the `Options` classes.

``python -m tests.support.options_table`` writes them anew; `make docs` calls it.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRANSPORT = ROOT / "kafka_transport" / "config.py"
POOL = ROOT / "respond_async" / "pool" / "options.py"
#: Each document, the source of its table, and what is put before each name.
TABLES = {
    ROOT / "docs" / "kafka.md": (TRANSPORT, ""),
    ROOT / "docs" / "pool.md": (POOL, "worker_asyncio_"),
}
BEGIN, END = "<!-- options: made by `make docs` -->\n", "<!-- end of options -->\n"


def options_table(path: Path, prefix: str) -> str:
    """One row a field of `Options`; a field without a comment shares that of the one before."""
    source = path.read_text()
    lines = source.splitlines()
    [options] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "Options"
    ]
    rows = ["| Option | Default | Meaning |", "|---|---|---|"]
    meaning = ""
    for each in options.body:
        if not isinstance(each, ast.AnnAssign) or each.value is None:
            continue
        comment: list[str] = []
        above = each.lineno - 2
        while lines[above].strip().startswith("#:"):
            comment.insert(0, lines[above].strip().removeprefix("#:").strip())
            above -= 1
        meaning = " ".join(comment) or meaning
        default = ast.unparse(each.value)
        default = "empty" if default.startswith("field(") else f"`{default}`"
        rows.append(f"| `{prefix}{ast.unparse(each.target)}` | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def write_between(document: Path, begin: str, end: str, table: str) -> None:
    """Puts a table in the place of the one between the two marks."""
    before, _, rest = document.read_text().partition(begin)
    after = rest.partition(end)[2]
    document.write_text(before + begin + "\n" + table + "\n" + end + after)


if __name__ == "__main__":
    for document, (source, prefix) in TABLES.items():
        write_between(document, BEGIN, END, options_table(source, prefix))
