"""SR examples with pandas, NumPy and pyarrow: what users bought, and candidates, as codes until the texts are joined.

What goes in: ratings and products of each category. What comes out: per split an Arrow table of input, options, output,
category and source_ids.
"""

import ast
import html
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tests.benchmarks.pandas_examples import SPLITS, Codes, coded, lists_of, pieces, table_of

MAX_PURCHASES = 50
MAX_WORDS = 25
NUM_CANDIDATES = 20
NUM_DRAWN = 22  # 19, and the user's last three, should they all be drawn
USERS_AT_ONCE = 20_000  # bounds the joined texts: an Arrow string array holds 2 GiB
LETTERS = "ABCDEFGHIJKLMNOPQRST"
QUOTES = "'\""


def read_ratings(raw_dir: Path, category: str) -> pa.Table:
    """Read item and user as codes, the rating's text as a code, the time as a number."""
    coded = pa.dictionary(pa.int32(), pa.string())
    columns = {"item": coded, "user": coded, "rating": coded, "timestamp": pa.int64()}
    return pa.csv.read_csv(
        raw_dir / "amazon_review_2018" / "rating" / f"{category}.csv",
        read_options=pa.csv.ReadOptions(column_names=list(columns), block_size=1 << 22),
        convert_options=pa.csv.ConvertOptions(column_types=columns),
    ).combine_chunks()


def read_older(raw_dir: Path, category: str, asins: set[str]) -> dict[str, dict[str, Any]]:
    """Read the 2014 metadata of some products: only their lines are worth a literal parser."""
    path = raw_dir / "amazon_review_2014" / "meta" / f"meta_{category}.json.gz"
    if not asins or not path.exists():
        return {}
    found: dict[str, dict[str, Any]] = {}
    asin_of_line = re.compile(rb"'asin': '([^']+)'")
    wanted = {asin.encode() for asin in asins}
    for block in _blocks_of_lines(path):
        for match in asin_of_line.finditer(block):
            if match[1] in wanted:
                start = block.rfind(b"\n", 0, match.start()) + 1
                product = ast.literal_eval(block[start : block.find(b"\n", start)].decode())
                found[product["asin"]] = product
    return found


def _blocks_of_lines(path: Path) -> Iterator[bytes]:
    rest = b""
    with pa.input_stream(str(path), compression="gzip") as stream:
        while block := stream.read(1 << 24):
            whole, newline, rest_of_block = (rest + block).rpartition(b"\n")
            rest = rest_of_block
            yield whole + newline
    if rest:
        yield rest + b"\n"


class Sequences(NamedTuple):
    """What the users of a category bought: item codes, user after user, with the lengths and the users' names."""

    items: Codes
    lengths: Codes
    users: pa.Array
    texts: list[str]
    asins: pa.Array


def read_sequences(raw_dir: Path, category: str, products: pa.Table) -> Sequences:
    """Apply the 5-core, order purchases by time, and write the texts of the items that are left."""
    ratings = read_ratings(raw_dir, category)
    columns = {name: ratings[name].combine_chunks() for name in ratings.column_names}
    asins = products["asin"].combine_chunks()
    row_of_item = pc.fill_null(pc.index_in(columns["item"].dictionary, value_set=asins), -1).to_numpy()
    frame = pd.DataFrame({name: columns[name].indices.to_numpy() for name in ("item", "user", "rating")})
    frame["timestamp"] = columns["timestamp"].to_numpy()
    frame["item"] = row_of_item[frame["item"].to_numpy()]
    frame = frame[frame["item"].to_numpy() >= 0].drop_duplicates()
    item, user, timestamp = _five_core(*(frame[name].to_numpy() for name in ("item", "user", "timestamp")))
    order = np.lexsort((timestamp, user))  # stable: equal times stay in the order of the file
    item, user = item[order], user[order]
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]]) if len(user) else np.empty(0, np.int64)
    lengths = np.diff(np.append(starts, len(user)))
    place = np.arange(len(user)) - np.repeat(starts, lengths)
    bought, codes = np.unique(item[place < MAX_PURCHASES], return_inverse=True)
    rows = products.select(["asin", "title", "brand", "category"]).take(pa.array(bought))
    return Sequences(
        items=codes,
        lengths=np.minimum(lengths, MAX_PURCHASES),
        users=columns["user"].dictionary.take(pa.array(user[starts])),
        texts=_item_texts(rows, raw_dir, category),
        asins=rows["asin"].combine_chunks(),
    )


def _five_core(item: Codes, user: Codes, timestamp: Codes) -> tuple[Codes, Codes, Codes]:
    while len(item):
        kept = (np.bincount(item)[item] >= 5) & (np.bincount(user)[user] >= 5)
        if kept.all():
            break
        item, user, timestamp = item[kept], user[kept], timestamp[kept]
    return item, user, timestamp


def _item_texts(rows: pa.Table, raw_dir: Path, category: str) -> list[str]:
    """Write title, two category levels and brand; 2014 is read only where 2018 leaves title or brand empty."""
    asins, titles, brands, levels = (rows[name].to_pylist() for name in ("asin", "title", "brand", "category"))
    lacking = {asin for asin, title, brand in zip(asins, titles, brands, strict=True) if not (title and brand)}
    older = read_older(raw_dir, category, lacking)
    for place, asin in enumerate(asins):
        if asin in older:
            titles[place] = titles[place] or older[asin].get("title")
            brands[place] = brands[place] or older[asin].get("brand")
    cleaned = {text: _cleaned(text) for text in {*brands, *(level for two in levels for level in (two or [])[:2])}}
    return [
        f"{_cleaned(title)} {' '.join([cleaned[level] for level in (two or [])[:2]])} {cleaned[brand]}"
        for title, two, brand in zip(titles, levels, brands, strict=True)
    ]


class _TextOfHtml(HTMLParser):
    """Keeps the text of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def _cleaned(text: str | None) -> str:
    """Clean a string of an item; the HTML parser is started only where there is a tag."""
    if not text or len(text) >= 2_000:
        return ""
    text = text.replace('"', "").replace("\n", "").replace("\r", "")
    if "<" in text:
        parser = _TextOfHtml()
        parser.feed(text)
        parser.close()
        text = "".join(parser.pieces)
    elif "&" in text:
        text = html.unescape(text)
    return text.strip(".") + "."


# ---- Samples


class _Texts(NamedTuple):
    """The reprs of a domain's texts without their first quote (which goes before the place), and which quote it is."""

    rests: pa.Array
    quote: Codes

    def listed(self, codes: Codes, places: list[str], place: Codes, offsets: Codes) -> pa.Array:
        """Write list reprs of `"1st: text"`; list k holds the codes from offsets[k] to offsets[k + 1].

        The elements, brackets and commas included, are joined one behind the other; the lists are then new offsets over
        the same bytes.
        """
        lengths_before = pa.array(
            [f"{', ' if k else '['}{quote}{name}" for quote in QUOTES for k, name in enumerate(places)]
        )
        is_last = np.zeros(len(codes), np.int8)
        is_last[offsets[1:] - 1] = 1
        elements = pc.binary_join_element_wise(
            lengths_before.take(pa.array(self.quote[codes] * len(places) + place)),
            self.rests.take(pa.array(codes)),
            pa.array(["", "]"]).take(pa.array(is_last)),
            "",
        )
        _, element_offsets, content = elements.buffers()
        list_offsets = np.frombuffer(element_offsets, np.int32)[offsets]
        return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(list_offsets), content)


def sequence_examples(bought: Mapping[str, Sequences], domain: str, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Make SR's examples of a domain from its categories."""
    offsets = np.cumsum([0, *(len(sequences.texts) for sequences in bought.values())])
    code_of_item, distinct = pd.factorize(np.array([t for s in bought.values() for t in s.texts], dtype=object))
    items = np.concatenate([s.items + start for s, start in zip(bought.values(), offsets[:-1], strict=True)])
    lengths = np.concatenate([sequences.lengths for sequences in bought.values()])
    users = pa.concat_arrays([sequences.users for sequences in bought.values()])
    asins = pa.concat_arrays([sequences.asins for sequences in bought.values()])
    category = np.repeat(np.arange(len(bought)), [len(sequences.lengths) for sequences in bought.values()])
    reprs = [repr(_cut(text)) for text in distinct]
    texts = _Texts(pa.array([text[1:] for text in reprs]), np.array([QUOTES.index(text[0]) for text in reprs]))
    ends = np.cumsum(lengths)
    tables = {}
    for num_left, split in zip((3, 2, 1), SPLITS, strict=True):
        if domain == "IND" or split == "test":
            parts = [
                _examples_of(texts, code_of_item[items], ends[piece], lengths[piece], num_left, len(distinct), rng)
                for piece in pieces(len(lengths), USERS_AT_ONCE)
            ]
            text, options, output = (pa.chunked_array(column) for column in zip(*parts, strict=True))
            ids = lists_of(pa.concat_arrays([users, asins]), np.arange(len(users)), items[ends - num_left] + len(users))
            tables[split] = table_of(text, options, output, coded(category, list(bought)), ids)
    return tables


def _examples_of(
    texts: _Texts, codes: Codes, ends: Codes, lengths: Codes, num_left: int, num_texts: int, rng: np.random.Generator
) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Write inputs, options and outputs of some users: all but their last num_left purchases are history."""
    num_shown = lengths - num_left
    offsets = np.append(0, np.cumsum(num_shown))
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], num_shown)
    history = codes[np.repeat(ends - lengths, num_shown) + place]
    last_three = codes[ends[:, None] - np.arange(3, 0, -1)]
    letter = rng.integers(0, NUM_CANDIDATES, len(ends))
    candidates = _candidates(last_three, num_texts, rng)
    listed = np.arange(NUM_CANDIDATES) - (np.arange(NUM_CANDIDATES) > letter[:, None])
    options = np.take_along_axis(candidates, np.minimum(listed, NUM_CANDIDATES - 2), axis=1)
    options[np.arange(len(ends)), letter] = last_three[:, 3 - num_left]
    return (
        texts.listed(history, _ORDINALS, place, offsets),
        texts.listed(
            options.ravel(),
            [f"{name}: " for name in LETTERS],
            np.tile(np.arange(NUM_CANDIDATES), len(ends)),
            np.arange(len(ends) + 1) * NUM_CANDIDATES,
        ),
        coded(letter, list(LETTERS)),
    )


def _candidates(last_three: Codes, num_texts: int, rng: np.random.Generator) -> Codes:
    """Draw 19 distinct texts for each user, none of the user's last three."""
    drawn = _distinct_draws(len(last_three), num_texts, rng)
    is_own = (drawn[:, :, None] == last_three[:, None, :]).any(axis=2)
    kept = np.argsort(is_own, axis=1, kind="stable")[:, : NUM_CANDIDATES - 1]
    if np.take_along_axis(is_own, kept, axis=1).any():
        raise SystemExit(f"{num_texts} item texts are too few for {NUM_CANDIDATES - 1} candidates")
    return np.take_along_axis(drawn, kept, axis=1)


def _distinct_draws(num_rows: int, num_texts: int, rng: np.random.Generator) -> Codes:
    """Draw up to 22 distinct numbers below num_texts a row; a row with a repeat is drawn again."""
    if num_texts < 20 * NUM_DRAWN:  # most rows would have a repeat
        shuffled = rng.permuted(np.tile(np.arange(num_texts), (num_rows, 1)), axis=1)
        return shuffled[:, :NUM_DRAWN]
    drawn = rng.integers(0, num_texts, (num_rows, NUM_DRAWN))
    again = np.arange(num_rows)
    while len(again):
        ordered = np.sort(drawn[again], axis=1)
        again = again[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
        drawn[again] = rng.integers(0, num_texts, (len(again), NUM_DRAWN))
    return drawn


def _cut(text: str) -> str:
    words = text.split(" ", MAX_WORDS)
    return text if len(words) <= MAX_WORDS else " ".join(words[:MAX_WORDS]).strip(".") + "..."


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}: "


_ORDINALS = [_ordinal(number) for number in range(1, MAX_PURCHASES)]
