"""Whatever text enters a page comes out as that text, and as nothing else."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import example, given
from hypothesis import strategies as st

from workers.report.markup import Markup, element, embedded_json, joined

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"))


class Reader(HTMLParser):
    """What a browser would see: elements with attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(TEXT, TEXT)
@example("</p><script>alert(1)</script>", '" onload="alert(1)')
def test_text_and_attributes_come_out_as_they_went_in(text, attribute):
    """
    One element, its text, its attribute: nothing that was text becomes markup.
    """
    page = Reader(element("p", text, title=attribute))

    assert [("p", {"title": attribute})] == page.elements
    assert text == page.text


@given(
    st.recursive(
        st.none() | st.floats() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8
    )
)
@example("</script><!--<script>")
def test_data_stays_inside_its_script_element(document):
    """
    The one element's content has no sign that could end it, and is the same JSON; what is not a number is null.
    """
    page = embedded_json("cards", document)
    inside = page.removeprefix('<script type="application/json" id="cards">').removesuffix("</script>")

    assert not set("<>&") & set(inside)
    assert json.dumps(json.loads(inside)) == json.dumps(_null_for_nan(document))


def _null_for_nan(value):
    if isinstance(value, dict):
        return {name: _null_for_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(each) for each in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def test_markup_is_not_escaped_again_and_nothing_is_nothing():
    """
    Elements nest, also through lists; None leaves no trace, False leaves an attribute out.
    """
    page = element("ul", [element("li", name) for name in ("a", "&")], None, class_="x", hidden=False, open=True)

    assert '<ul class="x" open><li>a</li><li>&amp;</li></ul>' == page
    assert "<br>" == element("br")
    assert "a&lt;1" == joined("a", Markup(""), "<", 1)
