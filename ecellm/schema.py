"""The pyarrow schemas that stages share: the contract between them and with whoever reads the Parquet.

Each column carries its description in the field's metadata (`pq.read_schema(file).field(name).metadata`), and each
file the contract's version (`ecellm_contract`). Partition columns are dictionary-encoded strings: that is the type
that pyarrow and pandas infer from Hive directories, so the copy inside the file merges with the one in the path.
"""

import pyarrow as pa

CONTRACT_VERSION = "2"
CATEGORY = pa.dictionary(pa.int32(), pa.string())


def _schema(name: str, columns: list[tuple[str, pa.DataType, str]]) -> pa.Schema:
    """Make a schema whose fields are described; a column is nullable where its description says so."""
    fields = [
        pa.field(column, kind, nullable="null" in text, metadata={"description": text})
        for column, kind, text in columns
    ]
    return pa.schema(fields, metadata={"ecellm_contract": CONTRACT_VERSION, "ecellm_table": name})


_ROW_KEYS: list[tuple[str, pa.DataType, str]] = [
    ("sample_id", pa.string(), "content hash of the sample (blake2b-128, hex)"),
    ("example_id", pa.string(), "content hash of task, input, options, output: one example across settings and splits"),
]
_PLACE: list[tuple[str, pa.DataType, str]] = [
    ("task", CATEGORY, "canonical task name"),
    ("split", CATEGORY, "train, val or test"),
    ("setting", CATEGORY, "one of the eight settings, e.g. IND_Diverse_Instruction"),
    ("row_index", pa.int64(), "place within (task, split, setting), from 0"),
]

SAMPLES = _schema(
    "samples",
    [
        *_ROW_KEYS,
        *_PLACE,
        ("domain", pa.string(), "IND (in-domain) or OOD (out-of-domain)"),
        ("instruction_kind", pa.string(), "single, diverse or unseen"),
        ("instruction_index", pa.int8(), "which of the task's instructions: 0 the seed, 1.. rewrites; null if unknown"),
        ("num_shots", pa.int8(), "0, or 1 where an example is shown in the prompt"),
        ("instruction", pa.string(), "what the model is asked to do"),
        ("input", pa.string(), "the sample's input, byte-exact"),
        ("output", pa.string(), "the reference answer, byte-exact"),
        ("options", pa.string(), "the answer options as text, byte-exact; null where the task has none"),
        ("few_shot_example", pa.string(), "the example shown in the prompt; null without one"),
        ("relevance", pa.list_(pa.string()), "QPR: the ESCI label of candidates A, B, ...; null if not known"),
        ("category", pa.string(), "product category of the source; null if not known"),
        ("source", pa.string(), "raw source the sample was built from; null for the release"),
        ("source_ids", pa.list_(pa.string()), "ids in the raw source (asin, query id, ...); null for the release"),
    ],
)

TRAINING_ROWS = _schema(
    "training_rows",
    [
        ("position", pa.int64(), "place in the split, 0.. without gaps, in file order"),
        ("sample_id", pa.string(), "the sample that was tokenized"),
        ("task", CATEGORY, "canonical task name"),
        ("split", CATEGORY, "train or val"),
        ("setting", CATEGORY, "setting of the sample"),
        ("input_ids", pa.list_(pa.int32()), "token ids: prompt, answer, end token (sequence-to-sequence: the prompt)"),
        ("labels", pa.list_(pa.int32()), "sequence-to-sequence: answer and end token; null for causal models"),
        ("num_prompt_tokens", pa.int32(), "how many of input_ids are the prompt: the loss starts after them"),
        ("was_shortened", pa.bool_(), "whether the input was shortened to fit max_length"),
    ],
)

DROPPED = _schema(
    "dropped",
    [
        ("sample_id", pa.string(), "the sample that was left out"),
        ("task", pa.string(), "canonical task name"),
        ("setting", pa.string(), "setting of the sample"),
        ("split", pa.string(), "train or val"),
        ("reason", pa.string(), "why it was left out"),
    ],
)

TRAINING_INDEX = _schema(
    "training_index",
    [
        ("file", pa.string(), "file name within the split's directory"),
        ("row_group", pa.int32(), "row group in the file"),
        ("first_position", pa.int64(), "position of its first row"),
        ("num_rows", pa.int64(), "rows in the row group"),
        ("num_tokens", pa.int64(), "tokens in the row group"),
    ],
)

_RUN: list[tuple[str, pa.DataType, str]] = [
    ("run_id", pa.string(), "identifies the run: 12 hex digits made of the predict fingerprint"),
    ("model", pa.string(), "the model that answered"),
    ("adapter", pa.string(), "its adapter; null without one"),
]

PREDICTIONS = _schema(
    "predictions",
    [
        *_RUN,
        ("engine", pa.string(), "transformers, vllm, openai or fake; baseline = a task-specific model"),
        ("decoding", pa.string(), "greedy, paper or choice"),
        *_ROW_KEYS,
        *_PLACE,
        ("prompt_sha256", pa.string(), "SHA-256 of the prompt's text as the engine got it"),
        ("was_shortened", pa.bool_(), "whether the input was shortened to fit max_length"),
        ("response", pa.string(), "the model's answer, as text"),
        ("finish_reason", pa.string(), "stop, length or choice"),
        ("num_prompt_tokens", pa.int32(), "tokens of the prompt"),
        ("num_completion_tokens", pa.int32(), "tokens generated for the answer; 0 where choices were compared"),
        (
            "choice_scores",
            pa.map_(pa.string(), pa.float32()),
            "log-probability of each choice; null unless decoding=choice",
        ),
    ],
)

PREDICTION_ERRORS = _schema(
    "prediction_errors",
    [*_ROW_KEYS, *_PLACE, ("reason", pa.string(), "why there is no answer")],
)

FLOOR_ANSWERS = _schema(
    "floor_answers",
    [
        ("floor", pa.string(), "name of the classical floor that answered"),
        ("sample_id", pa.string(), "content hash of the sample (blake2b-128, hex)"),
        ("task", CATEGORY, "canonical task name"),
        ("split", CATEGORY, "train, val or test"),
        ("setting", CATEGORY, "one of the eight settings"),
        ("response", pa.string(), "its answer, as text"),
    ],
)

SCORES = _schema(
    "scores",
    [
        ("run_id", pa.string(), "first 12 hex digits of the predict fingerprint"),
        *_ROW_KEYS,
        *_PLACE,
        ("flavour", pa.string(), "released (the release's scorer, rule by rule) or strict (every row counts)"),
        ("parsed", pa.string(), "the answer as the flavour's scorer understood it; null if it could not"),
        ("is_valid", pa.bool_(), "whether the answer could be parsed"),
        ("reference", pa.string(), "what it was compared with"),
        ("component", pa.string(), "name of the figure: correct; hits, num_predicted, num_gold; ndcg; ..."),
        ("value", pa.float64(), "its value; null where the flavour leaves the row out, or it was not computed"),
    ],
)

_SLICE_NAME = (
    "what the rows are narrowed by; null = all rows. category: of the product. reference: the true answer. attribute: "
    "extraction, strict alone; a row is an answer's part about it. num_candidates: ranking. prompt_tokens: quartiles, "
    "lowest-highest. was_shortened, finish_reason: as in the predictions. Floors have no slices"
)
_CI_LOW = (
    "lower end of the 95 % percentile bootstrap interval (in slices of 1,000 resamples at most); null if not computed"
)
_IS_HEADLINE = (
    "whether this is the task's headline metric over all rows, in either flavour; false in slices. The leaderboard is "
    "WHERE is_headline AND flavour = 'strict' (or 'released')"
)
METRICS = _schema(
    "metrics",
    [
        ("run_id", pa.string(), "first 12 hex digits of the predict fingerprint; of a floor: floor-<name>"),
        ("model", pa.string(), "model (and adapter) that answered, or the floor's name"),
        ("decoding", pa.string(), "greedy, paper or choice; null for floors"),
        (
            "role",
            pa.string(),
            "ours, task_specific (a model of jobs.baseline), floor (trivial or classical) or published",
        ),
        ("task", pa.string(), "canonical task name"),
        ("split", pa.string(), "train, val or test"),
        ("setting", pa.string(), "one of the eight settings"),
        ("slice_name", pa.string(), _SLICE_NAME),
        ("slice_value", pa.string(), "to which value; (other) = all but the most frequent 50; null = all rows"),
        ("flavour", pa.string(), "released (the release's scorer, rule by rule) or strict (every row counts)"),
        ("metric", pa.string(), "name as the released scorer prints it; strict has some more"),
        ("value", pa.float64(), "the figure; null with a reason"),
        ("ci_low", pa.float64(), _CI_LOW),
        ("ci_high", pa.float64(), "upper end of the 95 % percentile bootstrap interval; null if not computed"),
        ("num_samples", pa.int64(), "test rows"),
        ("num_invalid", pa.int64(), "answers (QPR: parts of answers) that the flavour's scorer could not parse"),
        ("is_headline", pa.bool_(), _IS_HEADLINE),
        ("reason", pa.string(), "why the value is null; null otherwise"),
        ("samples_fingerprint", pa.string(), "fingerprint of the samples that were answered"),
    ],
)

_P_VALUE = (
    "of the two-sided paired permutation test (approximate randomisation, Noreen 1989): (1 + resamples, in which each "
    "row's two answers are swapped with probability 1/2, with a difference at least as large) / (1 + resamples)"
)
COMPARISONS = _schema(
    "comparisons",
    [
        ("run_id", pa.string(), "the run"),
        ("baseline_run_id", pa.string(), "the run it is compared with"),
        ("task", pa.string(), "canonical task name"),
        ("split", pa.string(), "train, val or test"),
        ("setting", pa.string(), "one of the eight settings"),
        ("flavour", pa.string(), "released or strict"),
        ("metric", pa.string(), "the headline metric"),
        ("value", pa.float64(), "of the run, on the rows that both runs answered"),
        ("baseline_value", pa.float64(), "of the baseline, on the same rows"),
        ("difference", pa.float64(), "run minus baseline"),
        ("ci_low", pa.float64(), "lower end of the difference's 95 % paired bootstrap interval"),
        ("ci_high", pa.float64(), "upper end"),
        ("p_value", pa.float64(), _P_VALUE),
        ("p_adjusted", pa.float64(), "p_value by Holm's method for all rows of these two runs in this flavour"),
        ("num_samples", pa.int64(), "rows that both runs answered"),
    ],
)

STUDIES = _schema(
    "studies",
    [
        ("study", pa.string(), "name of the study"),
        ("arm", pa.string(), "what was varied"),
        ("axis", pa.string(), "what x is; null = the arms have no order"),
        ("x", pa.float64(), "the arm's place on the axis, e.g. its training samples; null = there is no axis"),
        ("condition", pa.string(), "what it was tested under, e.g. IND unseen"),
        ("task", pa.string(), "canonical task name"),
        ("split", pa.string(), "train, val or test"),
        ("setting", pa.string(), "one of the eight settings: what tests the condition in this arm"),
        ("flavour", pa.string(), "released or strict"),
        ("metric", pa.string(), "the headline metric"),
        ("run_id", pa.string(), "the run whose figure it is, as in the metrics table"),
        ("value", pa.float64(), "the figure, on all its rows; null = the metrics table has the reason"),
        ("ci_low", pa.float64(), "lower end of its 95 % interval; null = nothing was resampled"),
        ("ci_high", pa.float64(), "upper end; null likewise"),
        ("num_samples", pa.int64(), "rows scored"),
        ("against", pa.string(), "the arm that it is compared with; null = with none, or they share no examples"),
        ("against_run_id", pa.string(), "the run of that arm; null = not compared"),
        ("against_value", pa.float64(), "its figure, on the examples of both; null = not compared"),
        ("paired_value", pa.float64(), "this arm's figure, on the examples of both; null = not compared"),
        ("difference", pa.float64(), "paired_value minus against_value; null = not compared"),
        ("difference_ci_low", pa.float64(), "lower end of its 95 % paired bootstrap interval; null = not compared"),
        ("difference_ci_high", pa.float64(), "upper end; null = not compared"),
        ("p_value", pa.float64(), f"{_P_VALUE}; null = not compared"),
        (
            "p_adjusted",
            pa.float64(),
            "p_value by Holm's method over the study, by flavour; null = not compared",
        ),
        ("num_paired", pa.int64(), "examples of both; null = not compared"),
    ],
)

RUNS = _schema(
    "runs",
    [
        ("run_id", pa.string(), "as in the metrics table; null = nothing was answered"),
        ("label", pa.string(), "what the report calls the run"),
        ("role", pa.string(), "ours or task_specific"),
        ("model", pa.string(), "model and adapter"),
        ("engine", pa.string(), "what answered"),
        ("decoding", pa.string(), "how answers were drawn"),
        ("num_rows", pa.int64(), "rows answered"),
        ("num_errors", pa.int64(), "rows that failed"),
        ("predictions_dir", pa.string(), "where its predictions are"),
        ("manifest", pa.string(), "the manifest that says how they were made; null = others made them"),
        ("fingerprint", pa.string(), "of the job that made them; null = others made them"),
        ("git_commit", pa.string(), "of the code that made them; null = unknown"),
    ],
)

TEXT_SIMILARITY = _schema(
    "text_similarity",
    [
        ("run_id", pa.string(), "first 12 hex digits of the predict fingerprint; of a floor: floor-<name>"),
        *_ROW_KEYS,
        ("task", CATEGORY, "canonical task name"),
        ("split", CATEGORY, "train, val or test"),
        ("setting", CATEGORY, "one of the eight settings"),
        ("bertscore_recall", pa.float64(), "BERTScore recall of answer and reference; null = not computed"),
        ("bertscore_precision", pa.float64(), "BERTScore precision; null = not computed"),
        ("bertscore_f1", pa.float64(), "BERTScore F1; null = not computed"),
        ("bleurt", pa.float64(), "BLEURT of the first 300 words of both texts; null = not computed"),
        ("rouge_l", pa.float64(), "ROUGE-L F-measure (rouge-score, no stemmer); null = not computed"),
    ],
)

QUARANTINE = _schema(
    "quarantine",
    [
        ("row_number", pa.int64(), "place of the row in the input, from 0"),
        ("line_number", pa.int64(), "line of the file, from 1; null where the input has no lines"),
        ("file", pa.string(), "the input file"),
        ("reason", pa.string(), "why it was refused"),
        ("row", pa.string(), "the row as JSON"),
    ],
)

QUALITY = _schema(
    "quality",
    [
        ("task", pa.string(), "canonical task name; several, joined by commas, where raw rows serve several tasks"),
        ("domain", pa.string(), "IND or OOD; null where the check is of the task as a whole"),
        ("split", pa.string(), "train, val or test; null where the check is of the task as a whole"),
        ("check", pa.string(), "what was looked for, e.g. exact duplicate within the split"),
        ("detail", pa.string(), "of what: a reason, a file, another split, an answer, a quantile"),
        ("value", pa.float64(), "the figure: rows, ids, lines or characters"),
        ("share", pa.float64(), "value / all that were looked at; null where it is no share"),
    ],
)

BASELINE_LOG = _schema(
    "baseline_log",
    [
        ("task", pa.string(), "canonical task name"),
        ("epoch", pa.int64(), "epochs done"),
        ("train_loss", pa.float64(), "mean loss of the training rows in this epoch"),
        ("val_loss", pa.float64(), "mean loss of the validation rows after it; of the training rows without any"),
        ("seconds", pa.float64(), "time that the epoch took, validation included"),
    ],
)

TRAINING_LOG = _schema(
    "training_log",
    [
        ("step", pa.int64(), "optimizer step, from 1"),
        ("epoch", pa.float64(), "epochs done"),
        ("kind", pa.string(), "train or val"),
        ("loss", pa.float64(), "mean loss on the answers"),
        ("learning_rate", pa.float64(), "of this step; null for val"),
        ("grad_norm", pa.float64(), "before clipping; null for val"),
        ("tokens_per_second", pa.float64(), "real tokens (no padding), all workers; null for val"),
        ("padding_share", pa.float64(), "share of computed positions that are padding; null for val"),
        ("mfu", pa.float64(), "share of the GPUs' peak that the model's FLOPs take; null for val or an unknown peak"),
        ("memory_gib", pa.float64(), "of the fullest worker: GPU memory at most, else its process; null for val"),
        (
            "scores",
            pa.map_(pa.string(), pa.float64()),
            "val: accuracy of generated answers by task; null without any",
        ),
        ("seconds", pa.float64(), "since training began, earlier attempts included"),
    ],
)
