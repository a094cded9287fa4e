"""The database that is exported: a table `orders`, made where there is none."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.jobs.files import written

__all__ = ["make_orders", "reading"]

_TABLE = """
create table orders (id integer primary key, customer text, article text, pieces integer, price real);
"""
_ROWS = """
with recursive number(n) as (select 1 union all select n + 1 from number where n < ?)
insert into orders
select n, 'customer ' || (n * 7919 % 10007), 'article "' || (n % 97) || '", boxed', 1 + n % 9,
       round((n % 1000) / 7.0, 2)
from number;
"""


def make_orders(path: Path, rows: int) -> None:
    """Makes the database, whole or not at all."""
    with written(path) as file, closing(sqlite3.connect(file.name)) as database:
        # Nobody reads it before it is whole, so nothing need be safe until then.
        database.execute("pragma journal_mode = off")
        database.execute("pragma synchronous = off")
        database.execute(_TABLE)
        database.execute(_ROWS, (rows,))
        database.commit()


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, as it is at one moment, for reading alone."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        database.execute("begin")
        yield database
