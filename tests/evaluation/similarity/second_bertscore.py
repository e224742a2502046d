"""BERTScore computed twice more: in a few lines of our own, and by the library that the released scorer uses."""

import numpy as np
import torch


def by_hand(path, pairs, layer):
    """Recall, precision and F1 of each pair, one text at a time: embeddings, cosines, greedy matching."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()

    def embed(text):
        inputs = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            vectors = model(**inputs, output_hidden_states=True).hidden_states[layer][0].double().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    rows = []
    for answer, reference in pairs:
        a, r = embed(answer), embed(reference)
        if min(len(a), len(r)) == 2:  # nothing but start and end
            rows.append([0.0, 0.0, 0.0])
            continue
        cosines = a @ r.T
        precision, recall = cosines.max(1)[1:-1].mean(), cosines.max(0)[1:-1].mean()
        rows.append([recall, precision, 2 * precision * recall / (precision + recall)])
    return np.array(rows)


def by_the_library(path, pairs, layer, tokenizer=None):
    """The same by bert-score, pair by pair, in the order of our names; it stops at empty texts."""
    from bert_score import BERTScorer

    scorer = BERTScorer(model_type=path, num_layers=layer, device="cpu")
    scorer._tokenizer = tokenizer or scorer._tokenizer
    rows = [[values.item() for values in scorer.score([pair.answer], [pair.reference])] for pair in pairs]
    return np.array(rows)[:, [1, 0, 2]]
