"""Seeded test rows of every scored task, with the answers models give and the answers that break parsers.

A third of the responses is valid and right, a third valid and wrong, a third malformed or hostile. The same task,
count and seed give the same rows on every machine. No response holds a lone surrogate, so each can be written as
UTF-8; the JSON of some answers holds one as an escape.
"""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

IND, OOD = "IND_Diverse_Instruction", "OOD_Diverse_Instruction"
TASKS_WITH_OOD = frozenset(
    {
        "Attribute_Value_Extraction",
        "Product_Relation_Prediction",
        "Sentiment_Analysis",
        "Sequential_Recommendation",
        "Answerability_Prediction",
    }
)

# The options' texts are a wire format: they are those of the ECInstruct release (CC-BY-4.0).
RELATIONS = (
    "A: Users who buy product 1 may also buy product 2.",
    "B: Users who view product 1 may also view product 2.",
    "C: The product 1 is similar with the product 2.",
)
SENTIMENTS = ("A: very positive", "B: positive", "C: neutral", "D: negative", "E: very negative")
CLASSES = (
    "A: The product is relevant to the query, and satisfies all the query specifications.",
    (
        "B: The product is somewhat relevant. It fails to fulfill some aspects of the query but the product can be "
        "used as a functional substitute."
    ),
    (
        "C: The product does not fulfill the query, but could be used in combination with a product exactly matching "
        "the query."
    ),
    "D: The product is irrelevant to the query.",
)

WORDS = (
    *("steel", "garden", "lamp", '36"', "kid's", "usb-c", "café", "blue", "pack of 2", "wireless", "mug", "&", "tent"),
    *("100%", "cotton", "2.5 inch", "new", "the", "for", "with", "pro", "x", "🎄", "rope", "set", "mini", "black"),
)
LETTERS = "ABCDEFGHIJKLMNOPQRST"
LONG = 100_000
# Far below and far above what a recursive parser takes; in between, the depth of the caller's own stack would decide.
DEPTHS = (50, 300, 5_000, LONG)
# Both prompt formats' headers, and what a careless eye or parser takes for them.
HEADERS = (
    *("### Response:", "[/INST] ### Response:", "[/INST]### Response:", "[/INST] ### Response:\n", "\n### Response:\n"),
    *("### response:", "###Response:", "### Response", "[INST]", "[/INST]", "### Instruction:\n", "### Options:"),
)
# White space for str.strip(), some of it no white space for JSON; then what looks like it but is none.
SPACES = ("", " ", "\n", "\t\r\n  ", "\u00a0", "\u2003\u2028", "\x1c\x1f", "\x85", "\u200b", "\ufeff", "\x0b\x0c", "\0")


def fuzzed_rows(task: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Make rows of one task, each with a reference and a response.

    Args:
        task: The task's canonical name; Answer_Generation has no fuzzed rows.
        count: How many rows.
        seed: Rows of different seeds differ; the same seed repeats them.

    Returns:
        Rows with the keys task, setting, input, options, output, relevance and response. The rows of tasks with an OOD
        test are of both settings, mixed.
    """
    rng = random.Random(f"{task}/{seed}")
    settings = (IND, OOD) if task in TASKS_WITH_OOD else (IND,)
    answer_kinds = (_right, _wrong, _hostile)
    rows = []
    for index in range(count):
        # The setting is drawn, so that every setting gets every kind of answer.
        row = {"task": task, "setting": rng.choice(settings), **_SAMPLES[task](rng)}
        row["response"] = answer_kinds[index % 3](rng, row)
        rows.append(row)
    return rows


# --- samples --------------------------------------------------------------------------------------------------------


def _text(rng: random.Random, most: int = 12) -> str:
    """Return a few product words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


def _sample(sample_input: str, output: str, options: str | None = None, relevance: Any = None) -> dict[str, Any]:
    """Return the task's part of a row."""
    return {"input": sample_input, "output": output, "options": options, "relevance": relevance}


def _matching_sample(rng: random.Random) -> dict[str, Any]:
    """Return two products; a missing description is a bare NaN, as in the release."""
    products = {
        f"product {number}": {
            "title": _text(rng),
            "description": rng.choice((_text(rng, 30), float("nan"))),
            "manufacturer": rng.choice((_text(rng, 2), "nan")),
            "price": rng.choice(("95.0", "0.0", "nan", "18.99 gbp")),
        }
        for number in (1, 2)
    }
    return _sample(json.dumps(products), rng.choice(("yes", "no")))


def _substitute_sample(rng: random.Random) -> dict[str, Any]:
    """Return a query and a product."""
    return _sample(json.dumps({"query": _text(rng, 4), "product": _text(rng)}), rng.choice(("yes", "no")))


def _answerability_sample(rng: random.Random) -> dict[str, Any]:
    """Return a question and review snippets."""
    document = [_text(rng, 30) for _ in range(rng.randint(1, 5))]
    return _sample(json.dumps({"question": _text(rng), "document": document}), rng.choice(("yes", "no")))


def _relation_sample(rng: random.Random) -> dict[str, Any]:
    """Return two titles; the output is one letter, and the input's keys end with a colon, as in the release."""
    titles = {"Product 1:": _text(rng), "Product 2:": _text(rng)}
    return _sample(json.dumps(titles), rng.choice(RELATIONS)[0], json.dumps(RELATIONS))


def _sentiment_sample(rng: random.Random) -> dict[str, Any]:
    """Return a bare review; the output is the whole option."""
    return _sample(_text(rng, 60), rng.choice(SENTIMENTS), json.dumps(SENTIMENTS))


def _class_sample(rng: random.Random) -> dict[str, Any]:
    """Return a query and a title; the output is the whole option."""
    pair = {"query": _text(rng, 4), "product title": _text(rng)}
    return _sample(json.dumps(pair), rng.choice(CLASSES), json.dumps(CLASSES))


def _recommendation_sample(rng: random.Random) -> dict[str, Any]:
    """Return a history and twenty candidates, both as the repr of a Python list."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    history = [f"{place}{endings.get(place, 'th')}: {_text(rng)}" for place in range(1, rng.randint(3, 12))]
    options = [f"{letter}: {_text(rng)}" for letter in LETTERS]
    return _sample(repr(history), rng.choice(LETTERS), repr(options))


def _ranking_sample(rng: random.Random) -> dict[str, Any]:
    """Return two to four candidates with distinct labels; the output orders them E, S, C, I."""
    relevance = rng.sample("ESCI", rng.choice((2, 2, 3, 4)))
    letters = LETTERS[: len(relevance)]
    products = [f"{letter}: {_text(rng)}" for letter in letters]
    order = sorted(letters, key=lambda letter: "ESCI".index(relevance[letters.index(letter)]))
    query = {"query": _text(rng, 4), "product list": products}
    return _sample(json.dumps(query), ",".join(order), relevance=relevance)


ATTRIBUTES = ("color", "material", "item weight", "weight", "pack size", "type", "attribute", "größe")
# Values within values, values that look like numbers and constants, and values that JSON has to escape.
VALUES = (
    *("red", "dark red", "cotton", "100% cotton", "cotton blend", "5", "5 pounds", "15", "2.5 inches", "true color"),
    *("none", "nan", "infinity", '7"', "back\\slash", "naïve blue", "🎄 tree", "a", "steel, stainless", "{}"),
)
SOURCES = ("product title", "product description", "product feature", "product brand", "product price")


def _extraction_sample(rng: random.Random) -> dict[str, Any]:
    """Return a product's texts and the attributes to extract; an attribute without evidence has "None" twice."""
    attributes = rng.sample(ATTRIBUTES, rng.choice((1, 1, 2, 3)))
    labels: list[dict[str, str]] = []
    for attribute in attributes:
        if rng.random() < 0.25:
            labels.append({"attribute": attribute, "value": "None", "source": "None"})
            continue
        labels.extend(
            {"attribute": attribute, "value": value, "source": rng.choice(SOURCES)}
            for value in rng.sample(VALUES, rng.choice((1, 1, 2, 3)))
        )
    product = {source: _text(rng, 20) for source in SOURCES}
    # The target attributes keep their case; only the output is lower-cased.
    product["target attributes"] = " and ".join(attribute.title() for attribute in attributes)
    return _sample(json.dumps(product), json.dumps(labels))


_SAMPLES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "Attribute_Value_Extraction": _extraction_sample,
    "Product_Relation_Prediction": _relation_sample,
    "Product_Matching": _matching_sample,
    "Sentiment_Analysis": _sentiment_sample,
    "Sequential_Recommendation": _recommendation_sample,
    "Multiclass_Product_Classification": _class_sample,
    "Product_Substitute_Identification": _substitute_sample,
    "Query_Product_Ranking": _ranking_sample,
    "Answerability_Prediction": _answerability_sample,
}


# --- right and wrong answers ----------------------------------------------------------------------------------------


def _right(rng: random.Random, row: dict[str, Any]) -> str:
    """Return a right answer in one of the forms that the released rules accept."""
    output: str = row["output"]
    task: str = row["task"]
    if task == "Attribute_Value_Extraction":
        answer = _written(rng, json.loads(output))
    elif output in ("yes", "no"):
        answer = rng.choice((output, output, output.upper(), output.title()))
    elif task in ("Sequential_Recommendation", "Query_Product_Ranking"):
        answer = output
    else:
        # The first character decides, so the letter, the whole option and any text between are right.
        options = json.loads(row["options"])
        option = next(option for option in options if option[0] == output[0])
        answer = rng.choice((output, option, option[0], option[: rng.randint(1, len(option))]))
    return rng.choice(("", "", " ", "\n")) + answer + rng.choice(("", "", " ", "\n\n"))


def _wrong(rng: random.Random, row: dict[str, Any]) -> str:
    """Return an answer that is well formed and not the reference."""
    output: str = row["output"]
    task: str = row["task"]
    if task == "Attribute_Value_Extraction":
        return _written(rng, _other_objects(rng, json.loads(output)))
    if output in ("yes", "no"):
        return "no" if output == "yes" else "yes"
    if task == "Query_Product_Ranking":
        return _other_ranking(rng, output)
    if task == "Sequential_Recommendation":
        return rng.choice([letter for letter in LETTERS if letter != output])
    # The scorer takes A..E for every task with options, so D and E are answers even where they are not offered.
    others: list[str] = [option for option in json.loads(row["options"]) if option[0] != output[0]]
    return rng.choice((*others, *(letter for letter in "ABCDE" if letter != output[0])))


def _other_ranking(rng: random.Random, output: str) -> str:
    """Return another order of the candidates, or only some of them."""
    letters = output.split(",")
    while True:
        other = ",".join(rng.sample(letters, rng.choice((len(letters), rng.randint(1, len(letters))))))
        if other != output:
            return other


def _written(rng: random.Random, objects: Sequence[dict[str, Any]]) -> str:
    """Write objects as JSON, with the freedom JSON leaves: escapes, key order, white space."""
    shuffled = [dict(rng.sample(list(item.items()), len(item))) for item in objects]
    return json.dumps(
        rng.choice((objects, shuffled)), ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 0, 2))
    )


def _other_objects(rng: random.Random, labels: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the labels with repeats, near misses and omissions; in OOD some near misses still hit."""
    objects: list[dict[str, str]] = []
    for label in labels:
        kind = rng.choice(("keep", "change", "change", "repeat", "add", "drop"))
        if kind in ("keep", "add"):
            objects.append(label)
        if kind in ("change", "add"):
            objects.extend(_near_miss(rng, label) for _ in range(rng.randint(1, 3)))
        if kind == "repeat":
            objects.extend([label] * rng.choice((2, 3, 20)))
    if rng.random() < 0.3:
        rng.shuffle(objects)
    if objects == labels:
        objects.append(_near_miss(rng, rng.choice(labels)))
    return objects


def _near_miss(rng: random.Random, label: dict[str, str]) -> dict[str, str]:
    """Return a label with one, two or three of its texts changed a little."""
    keys = rng.choice((["value"], ["value"], ["source"], ["value", "source"], ["attribute"], list(label)))
    return {key: _changed(rng, text) if key in keys else text for key, text in label.items()}


def _changed(rng: random.Random, text: str) -> str:
    """Return a superstring, a substring, another case, another text or no text."""
    start = rng.randint(0, len(text) - 1)
    return rng.choice(
        (
            f"{text} {rng.choice(WORDS)}",
            f"{rng.choice(WORDS)} {text}",
            text * 2,
            text[start:],
            text[: start + 1],
            text[start : rng.randint(start, len(text))],
            text.upper(),
            text.title(),
            f" {text} ",
            "",
            " ",
            "None",
            "none",
            rng.choice(VALUES),
            rng.choice(SOURCES),
            rng.choice(ATTRIBUTES),
            _unicode(rng),
        )
    )


# --- malformed and hostile answers ----------------------------------------------------------------------------------


def _hostile(rng: random.Random, row: dict[str, Any]) -> str:
    """Return an answer that is malformed, or well formed in a way that parsers trip over."""
    makers = [_blank, _decorated, _with_header, _junk]
    if row["task"] == "Attribute_Value_Extraction":
        makers += [_odd_objects] * 12 + [_broken_json] * 4
    else:
        makers += [_odd_letters] * 6
    answer = rng.choice(makers)(rng, row)
    # Rarely, since each such answer is as long as all the others together.
    return _lengthened(rng, answer) if rng.random() < 0.02 else answer


def _blank(rng: random.Random, _: dict[str, Any]) -> str:
    """Return nothing, or white space and its look-alikes."""
    return "".join(rng.choices(SPACES, k=rng.choice((0, 1, 3))))


def _decorated(rng: random.Random, row: dict[str, Any]) -> str:
    """Return the right answer in another case, or with something around it."""
    output: str = row["output"]
    space = rng.choice(SPACES)
    return rng.choice(
        (
            output.lower(),
            output.upper(),
            output.swapcase(),
            f"{output}.",
            f"{output}...",
            f"{output}, {output}",
            f"{output}\n{output}",
            f"The answer is {output}",
            f"Answer: {output}",
            f'"{output}"',
            f"({output})",
            f"- {output}",
            f"**{output}**",
            f"```json\n{output}\n```",
            f"{space}{output}{space}",
            f"{output[:1]}{space}{output[1:]}",
            f"{output}</s>",
            f"{output}\0",
            f"\0{output}",
            f"{output[:1]}\u0301{output[1:]}",
            f"\u0301{output}",
            f"\ufeff{output}",
            f"🙂{output}",
            f"{output}👍🏽",
            f"{output} {_unicode(rng)}",
            f"<script>alert('{output}')</script>",
            f"<b>{output}</b>",
            f"{output}<!-- {output} -->",
            output[: rng.randint(0, len(output))],
            output[rng.randint(0, len(output)) :],
            output[::-1],
        )
    )


def _with_header(rng: random.Random, row: dict[str, Any]) -> str:
    """Return answers and response headers in turns, as of a model that goes on with a second answer."""
    # Some joints have no white space, some have a lot.
    parts = [rng.choice((_right, _wrong, _blank))(rng, row)]
    for _ in range(rng.choice((1, 1, 2))):
        parts += [rng.choice(HEADERS), rng.choice((_right, _wrong, _blank))(rng, row)]
    return rng.choice(("", " ", "\n")).join(parts)


def _junk(rng: random.Random, row: dict[str, Any]) -> str:
    """Return what has nothing to do with the question."""
    depth = rng.choice(DEPTHS[:3])
    return rng.choice(
        (
            _unicode(rng, 40),
            "\u0301\u0308\u20dd",
            "👩\u200d👩\u200d👧\u200d👦",
            "\0" * rng.randint(1, 5),
            "I'm sorry, but as a language model I cannot answer this.",
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "{{7*7}} ${7*7} %s %d {0} \\",
            "'; DROP TABLE answers; --",
            "../../etc/passwd",
            "=1+1",
            "\x1b[31mred\x1b[0m",
            "\u202etxet desrever\u202c",
            *(
                "null",
                "NaN",
                "Infinity",
                "-Infinity",
                "1e999",
                "0",
                "true",
                "[]",
                "{}",
                '""',
                "None",
                "nan",
                "9" * 5_000,
            ),
            "[" * depth,
            "[" * depth + "]" * depth,
            json.dumps(row["input"]),
            str(row["options"]),
        )
    )


def _lengthened(rng: random.Random, answer: str) -> str:
    """Return an answer of about 100,000 characters."""
    filler = rng.choice((" ", "\n", "a", "A", ",", "A,", ".", "\0", "\u0301", "🙂", "no ", "[", "9", "### Response"))
    padding = filler * (LONG // len(filler))
    return rng.choice((answer + padding, padding + answer, padding, answer + padding + answer))


def _unicode(rng: random.Random, most: int = 8) -> str:
    """Return random code points of all planes, without surrogates."""
    points = (
        rng.choice((rng.randrange(0x250), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))) for _ in range(most)
    )
    return "".join(map(chr, points))[: rng.randint(1, most)]


def _odd_letters(rng: random.Random, row: dict[str, Any]) -> str:
    """Return letters and yes or no in forms between valid and invalid."""
    offered = row["output"].split(",") if row["relevance"] else list("ABCDE")
    some = rng.choices((*offered, *offered, *"FTUZabt"), k=rng.randint(1, 6))
    letter = rng.choice(some)
    # A in full width, Cyrillic, Greek, bold, circled, with an accent, as an ordinal; B in Cherokee.
    look_alike = rng.choice("\uff21\u0410\u0391\U0001d400\u24b6\u00c0\u00aa\u13f4")
    return rng.choice(
        (
            ",".join(some),
            ", ".join(some),
            " ,".join(some),
            ",".join(some) + ",",
            "," + ",".join(some),
            ",,".join(some),
            "，".join(some),  # noqa: RUF001
            ";".join(some),
            " ".join(some),
            "".join(some),
            "\n".join(some),
            ",\n".join(some),
            " > ".join(some),
            json.dumps(some),
            ",".join(f"{item}: {rng.choice(WORDS)}" for item in some),
            ",".join(item + rng.choice(SPACES) for item in some),
            ",".join([letter] * rng.randint(2, 30)),
            letter,
            letter.lower(),
            letter.upper(),
            f"{letter}.",
            f"{letter})",
            f"{letter}:",
            f"{letter} or {rng.choice(some)}",
            f"{letter}\u0301",
            f"{letter}\ufe0f\u20e3",
            f"Option {letter}",
            look_alike,
            f"{look_alike},{letter}",
            "YES",
            "No",
            "yes.",
            "no...",
            "yes no",
            "yes, no",
            "yesno",
            "y",
            "not sure",
            "ye\u017f",
            "no\u0308",
            "ｎｏ",  # noqa: RUF001
            "y\0es",
            "\u00a0yes\u2003",
        )
    )


# --- hostile JSON ---------------------------------------------------------------------------------------------------


def _nested(rng: random.Random, depths: Sequence[int] = DEPTHS) -> str:
    """Return brackets or braces inside each other."""
    depth = rng.choice(depths)
    return rng.choice(
        ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, '[{"a":' * depth + "1" + "}]" * depth)
    )


def _odd_value(rng: random.Random, text: str) -> str:
    """Return JSON for a value or a source: of another type, of another size, or odd inside; `text` is the right one."""
    quoted = json.dumps(text)
    # A constant and a number get their chance to lie within the right text once they are turned into text.
    return rng.choice(
        (
            *("null", "null", "true", "false", "0", "5", "5.0", "1", "2.5", "-0.0", "1E5", "1e999", "-1e999"),
            *("NaN", "Infinity", "-Infinity", "9" * 5_000, "1" + "0" * 4_000, "0." + "1" * 5_000),
            *("[]", "{}", '""', '" "', '"None"', "[null]", '"null"', '"\\u0000"', '"\\ud83d"', '"\\ud83c\\udf84"'),
            *(quoted, quoted, quoted, json.dumps(text.upper()), json.dumps(text[:-1]), json.dumps(f"{text}\u0301")),
            *(f"[{quoted}]", f"[[{quoted}]]", f'{{"value": {quoted}}}', f"{{{quoted}: 1}}", f"[{quoted}, {quoted}]"),
            '"' + "".join(f"\\u{ord(letter):04x}" for letter in text if letter <= "\uffff") + '"',
            json.dumps(_unicode(rng)),
            json.dumps(f"{text} ### Response: {text}"),
            # Deep enough to annoy, not so deep that str() of it depends on the caller's stack.
            _nested(rng, DEPTHS[:2]),
        )
    )


def _odd_object(rng: random.Random, label: dict[str, str]) -> str:
    """Return JSON for a label with odd values, missing keys, extra keys or keys twice."""
    pairs = [(key, json.dumps(text)) for key, text in label.items()]
    for _ in range(rng.choice((1, 1, 1, 2))):
        # The attribute is spared mostly: without it the rest does not matter.
        place = rng.choice((0, 1, 1, 1, 2, 2, 2))
        key = list(label)[place]
        kind = rng.choice(("odd", "odd", "odd", "odd", "missing", "twice", "extra", "renamed"))
        if kind == "missing":
            pairs = [pair for pair in pairs if pair[0] != key]
        elif kind == "twice":
            pairs.insert(rng.randint(0, len(pairs)), (key, _odd_value(rng, label[key])))
        elif kind == "extra":
            pairs.append((rng.choice(("confidence", "Attribute", "", "__class__")), _odd_value(rng, label[key])))
        elif kind == "renamed":
            new = rng.choice((key.title(), f"{key} ", f"{key}s", f"\u200b{key}"))
            pairs = [(new if name == key else name, value) for name, value in pairs]
        else:
            pairs = [(name, _odd_value(rng, label[key]) if name == key else value) for name, value in pairs]
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}"


def _odd_item(rng: random.Random, label: dict[str, str]) -> str:
    """Return JSON for a list item that is no object with an attribute."""
    whole = json.dumps(label)
    return rng.choice(
        (
            *("null", "0", "7", "-1.5", "1e999", "NaN", "true", "false", '""', "[]", "{}"),
            *('"attribute"', '"the attribute is red"', '"value"', '["attribute"]', '["attribute", "value", "source"]'),
            *('{"value": "red", "source": "product title"}', '{"Attribute": "color"}', '{"attribute": null}'),
            json.dumps(whole),
            json.dumps(label["value"]),
            f"[{whole}]",
            f'{{"attribute": {whole}}}',
            f'{{"answer": {whole}}}',
        )
    )


def _odd_objects(rng: random.Random, row: dict[str, Any]) -> str:
    """Return a JSON list of right, odd and useless items."""
    labels: list[dict[str, str]] = json.loads(row["output"])
    items = []
    for _ in range(rng.randint(1, 5)):
        label = rng.choice(labels)
        kind = rng.choice(("odd", "odd", "odd", "item", "near", "right"))
        if kind == "odd":
            items.append(_odd_object(rng, label))
        elif kind == "item":
            items.append(_odd_item(rng, label))
        else:
            items.append(json.dumps(label if kind == "right" else _near_miss(rng, label)))
    if rng.random() < 0.02:
        # Thousands of repeats: a slow comparison shows.
        items = items * 2_000
    return f"[{', '.join(items)}]"


def _broken_json(rng: random.Random, row: dict[str, Any]) -> str:
    """Return JSON that is cut, glued, of another dialect, too deep, or not a list."""
    output: str = row["output"]
    first = json.dumps(json.loads(output)[0])
    cut = rng.randint(0, len(output) - 1)
    return rng.choice(
        (
            output[:cut],
            output[:cut],
            output[cut:],
            output[:cut] + rng.choice("\0\n\t\"'[]{},:\\e9\u0301") + output[cut:],
            f"{output}{output}",
            f"{output}]",
            f"[{output}",
            f"[{output}]",
            f"{output[:-1]},]",
            f"{output} // right",
            f"{output}\nI hope this helps!",
            f"Here you are: {output}",
            repr(json.loads(output)),
            output.replace('"', "\u201c"),
            output.replace(": ", " = "),
            output.replace('"value": "', '"value": "\n'),
            output.replace('"value"', "value"),
            output.replace('"value": "', '"value": "\\x'),
            output.replace("[", "(").replace("]", ")"),
            output.replace(", ", ",\u00a0"),
            f"\ufeff{output}",
            f"\u00a0{output}\u2028",
            f"\x1c{output}\x1f",
            first,
            first[1:-1],
            f'{{"answer": {output}}}',
            f'{{"0": {first}}}',
            json.dumps(output),
            "\n".join(map(json.dumps, json.loads(output))),
            f"[{first} {first}]",
            f"[{first},, {first}]",
            f"[{first}, 01]",
            f"[{first}, +1]",
            f"[{first}, .5]",
            f"[{first}, 0x10]",
            f"[{first}, {'9' * 5_000}]",
            f"[{first}, {_nested(rng)}]",
            f'[{first}, {{"attribute": {_nested(rng)}}}]',
            _nested(rng),
            _nested(rng),
            rng.choice(("[", '{"a":', '[{"attribute":')) * rng.choice(DEPTHS),
            '"' + "\\" * rng.randint(1, 9) + '"',
            *("null", "true", "3", '"attribute"', "{}", "[]", "[[]]", "[[[]], {}]", "NaN", "1e999", "9" * 5_000),
        )
    )
