"""The table of metrics in docs/operations.md, made of `respond_async.metrics.definitions`.

``python -m tests.support.metrics_table`` writes it anew; `make docs` calls it.
"""

from respond_async.metrics.definitions import metrics_table
from tests.support.options_table import ROOT, write_between

DOCUMENT = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- metrics: made by `make docs` -->\n", "<!-- end of metrics -->\n"

if __name__ == "__main__":
    write_between(DOCUMENT, BEGIN, END, metrics_table())
