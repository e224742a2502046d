"""Made-up questions of shoppers: lines of AmazonQA.

Review snippets speak of some topics, in sentences of their own; a question about one of these is answerable, and the
answer with most helpful votes repeats the sentence, as in `answerability_prediction` and `answer_generation`.

Quirks of the real file, with their rates: yes/no questions 30 %; questions that the snippets do not answer 40 %; no
answer with a helpful vote 12 %; a second answer with as many votes as the best 5 %.
"""

import json
from typing import Any

import numpy as np

from ecellm.sources.synthetic_catalogue import Catalogue, Draws
from ecellm.sources.synthetic_reviews import neutral_remark
from ecellm.sources.synthetic_words import MORE_TOPICS
from ecellm.sources.synthetic_world import TOPICS

_TOPICS = TOPICS | MORE_TOPICS
_ANSWERABLE_SHARE = 0.6
_NO_ANSWERS = ("sorry, i do not know", "no idea, ask the seller", "i gave it away", "it was a gift")


def question_lines(
    catalogues: list[Catalogue], first_question: int, num_questions: int, rng: np.random.Generator
) -> list[str]:
    """Return a block of questions about products of all categories, each as likely as the others.

    Args:
        catalogues: the products of all categories.
        first_question: the qid of the block's first question.
        num_questions: how many questions.
        rng: draws everything.

    Returns:
        JSON lines.
    """
    draws = Draws(rng)
    places = rng.integers(len(catalogues), size=num_questions)
    sizes = np.array([catalogue.num_products for catalogue in catalogues])
    numbers = (rng.random(num_questions) * sizes[places]).astype(np.int64)
    lines: list[str] = [""] * num_questions
    for place, catalogue in enumerate(catalogues):
        rows = np.flatnonzero(places == place)
        makers, types = catalogue.maker_and_type_names(numbers[rows])
        for row, asin, maker, product_type in zip(
            rows.tolist(), catalogue.asins(numbers[rows]), makers, types, strict=True
        ):
            record = {"asin": asin, "category": catalogue.category} | _question(draws, maker, product_type)
            lines[row] = json.dumps(record | {"qid": first_question + row})
    return lines


def _question(draws: Draws, maker: str, product_type: str) -> dict[str, Any]:
    """Draw question, snippets and answers about a product."""
    is_answerable = draws.chance(_ANSWERABLE_SHARE)
    is_yes_no = draws.chance(0.3)
    *told, missing = draws.sample(tuple(_TOPICS), 4)
    values = {topic: draws.pick(_TOPICS[topic][2]) for topic in (*told, missing)}
    sentences = {topic: _TOPICS[topic][1].format(value) for topic, value in values.items()}
    asked = draws.pick(told) if is_answerable else missing
    text = _TOPICS[asked][0]
    if is_yes_no:
        text = f"is it true: {_TOPICS[asked][1].format(draws.pick(_TOPICS[asked][2]))}?"
    return {
        "questionText": f"about this {product_type}, {text}",
        "questionType": "yesno" if is_yes_no else "descriptive",
        "review_snippets": _snippets(draws, [sentences[topic] for topic in told], maker, product_type),
        "answers": _answers(draws, sentences[asked], is_yes_no=is_yes_no),
        "is_answerable": int(is_answerable),
    }


def _snippets(draws: Draws, sentences: list[str], maker: str, product_type: str) -> list[str]:
    """Return snippets of reviews: an opening, one for each topic, one without any; the later ones in random order."""
    rest = [f"{sentence}. {neutral_remark(draws)}" if draws.chance(0.3) else sentence for sentence in sentences]
    rest.append(neutral_remark(draws))
    return [f"i bought this {maker} {product_type}", *draws.sample(rest, len(rest))]


def _answers(draws: Draws, best: str, *, is_yes_no: bool) -> list[dict[str, Any]]:
    """Return one to four answers; `helpful` is [helpful votes, votes]."""
    votes = 0 if draws.chance(0.12) else draws.below(9) + 1
    has_equal = votes > 0 and draws.chance(0.05)
    answers = [_answer(draws, best, votes, is_yes_no=is_yes_no)]
    for _ in range(draws.below(4)):
        others = draws.below(votes) if votes else 0
        answers.append(_answer(draws, draws.pick(_NO_ANSWERS), others, is_yes_no=is_yes_no))
    answers = draws.sample(answers, len(answers))
    if has_equal:  # the first of equals is the best
        answers.append(_answer(draws, draws.pick(_NO_ANSWERS), votes, is_yes_no=is_yes_no))
    return answers


def _answer(draws: Draws, text: str, votes: int, *, is_yes_no: bool) -> dict[str, Any]:
    kind = draws.pick(("Y", "N", "?")) if is_yes_no else "NA"
    return {"answerText": text, "answerType": kind, "helpful": [votes, votes + draws.below(3)]}
