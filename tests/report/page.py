"""A report as a browser's parser sees it."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "input", "br", "link", "img", "hr"}


@dataclass
class Page(HTMLParser):
    """Text outside scripts and styles, scripts by id, styles, attributes of all elements, and tags that were not closed."""

    texts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    scripts: dict[str, str] = field(default_factory=dict)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)
    script_id: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self.script_id = dict(attrs)["id"] or ""
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        where = self.open_tags[-1] if self.open_tags else ""
        if where == "script":
            self.scripts[self.script_id] = self.scripts.get(self.script_id, "") + data
        elif where == "style":
            self.styles.append(data)
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    @property
    def data(self) -> dict[str, Any]:
        """Measures and networks that the page's script draws."""
        found: dict[str, Any] = json.loads(self.scripts["data"])
        return found


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open_tags == []
    return page
