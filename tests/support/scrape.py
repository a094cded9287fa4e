"""Reading `/metrics` as Prometheus does."""

from typing import Any

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families

#: Untyped in prometheus-client.
parse: Any = text_string_to_metric_families

TOKEN = "a token for whoever scrapes"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """What one process showed at one time."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": OPENMETRICS}
        answer = httpx.get(f"{url}/metrics", headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        self.text = answer.text
        self.samples = [sample for family in parse(answer.text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels; 0 if there is none."""
        return sum(
            float(sample.value)
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}

    def exemplars(self, name: str) -> list[dict[str, Any]]:
        return [s.exemplar.labels for s in self.samples if s.name == name and s.exemplar]
