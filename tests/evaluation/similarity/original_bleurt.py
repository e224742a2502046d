"""The original PyTorch code of BLEURT (PyPI's bleurt-pytorch), brought to run: what ours is compared with.

It needs four things of transformers that transformers 5 no longer has; none of them is what it computes with, but for
the mask, which is written here as transformers 4 had it.
"""

import sys
from functools import lru_cache
from types import ModuleType

import torch

CONFIG = {"hidden_size": 48, "embedding_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}


def _mask(model, mask, _shape):
    """0 where there is a token, the smallest number where there is none: [batch, 1, 1, tokens]."""
    return (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min


@lru_cache(maxsize=1)
def original_classes():
    """Return its classes of config and model."""
    from transformers import BertTokenizer, pytorch_utils

    module = ModuleType("transformers.models.bert.tokenization_bert_fast")
    module.BertTokenizerFast = BertTokenizer
    sys.modules[module.__name__] = module
    pytorch_utils.find_pruneable_heads_and_indices = None
    try:
        from bleurt_pytorch.bleurt import modeling_bleurt
    finally:
        del pytorch_utils.find_pruneable_heads_and_indices, sys.modules[module.__name__]
    modeling_bleurt.BleurtModel.get_extended_attention_mask = _mask
    modeling_bleurt.BleurtModel.get_head_mask = lambda _model, _mask, num_layers: [None] * num_layers
    return modeling_bleurt.BleurtConfig, modeling_bleurt.BleurtForSequenceClassification


def make_bleurt(directory, texts, num_pieces=300):
    """Save a random model with a SentencePiece model of some texts, as the original code does; return where."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    directory.mkdir()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(directory / "spm"),
        vocab_size=num_pieces,
        hard_vocab_limit=False,
        control_symbols=["[CLS]", "[SEP]"],
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        unk_piece="<unk>",
        pad_piece="<pad>",
        minloglevel=2,
    )
    vocab_size = SentencePieceProcessor(model_file=str(directory / "spm.model")).get_piece_size()
    config_class, model_class = original_classes()
    torch.manual_seed(0)
    model = model_class(config_class(vocab_size=vocab_size, intermediate_size=2 * CONFIG["hidden_size"], **CONFIG))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)
    return directory


def original_figures(directory, pairs):
    """Return the model's figure of each pair, asked pair by pair, as the released scorer does."""
    from sentencepiece import SentencePieceProcessor

    config_class, model_class = original_classes()
    model = model_class.from_pretrained(directory, config=config_class.from_pretrained(directory)).eval()
    pieces = SentencePieceProcessor(model_file=f"{directory}/spm.model")
    return [_figure(model, pieces, pair) for pair in pairs]


def _figure(model, pieces, pair):
    reference, answer = (
        [pieces.piece_to_id(piece) for piece in pieces.encode(" ".join(text.split()[:300]), out_type=str)]
        for text in (pair.reference, pair.answer)
    )
    while len(reference) + len(answer) > 509:  # as transformers 4 cuts a pair: from the longer, of equals the second
        (reference if len(reference) > len(answer) else answer).pop()
    start, end = pieces.piece_to_id("[CLS]"), pieces.piece_to_id("[SEP]")
    ids = [start, *reference, end, *answer, end]
    kinds = [0] * (len(reference) + 2) + [1] * (len(answer) + 1)
    with torch.no_grad():
        output = model(torch.tensor([ids]), torch.ones(1, len(ids)), torch.tensor([kinds]))
    return output.logits.item()
