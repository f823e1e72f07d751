"""What there is to score: a listing or somebody's list, filtered and streamed as tables of ``LISTED``.

source.py      where photographs come from
selection.py   which of them are wanted
listing.py     S3 LIST on many prefixes at once; a folder
s3_inventory.py, key_list.py   lists that exist already: S3 Inventory, Parquet, CSV, text
notes.py       what a listing that broke off had found
objects.py     all of that as one stream
"""

from __future__ import annotations

from workers.score.inventory.notes import ListingNotes
from workers.score.inventory.objects import list_objects
from workers.score.inventory.selection import Selection
from workers.score.inventory.source import Source, open_source

__all__ = ["ListingNotes", "Selection", "Source", "list_objects", "open_source"]
