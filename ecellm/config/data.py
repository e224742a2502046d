"""Configs of the jobs that make samples: fetch, build, ingest."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ecellm.config.base import ClusterConfig, Frozen, JobConfig, check_settings, content, location, operational

Size = Annotated[int, Field(ge=1)] | Literal["all"]


class Sizes(Frozen):
    """How many samples to keep of each split."""

    train: Size = content("all", description="training samples a task, or all")
    val: Size = content("all", description="validation samples a task, or all")
    test: Size = content("all", description="test samples a task and domain, or all")


class DomainCategories(Frozen):
    """Product categories of one task, by domain: the names in the raw files' names, or in their `category` fields."""

    in_domain: tuple[str, ...] = content(min_length=1, description="categories of the in-domain data, in order")
    out_of_domain: tuple[str, ...] = content((), description="categories of the out-of-domain test")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = (*self.in_domain, *self.out_of_domain)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} named twice: in-domain and out-of-domain categories must be disjoint")
        return self


_REVIEW_CATEGORIES = DomainCategories(
    in_domain=("Electronics", "Home_and_Kitchen", "Sports_and_Outdoors"), out_of_domain=("Tools_and_Home_Improvement",)
)
PAPER_CATEGORIES: dict[str, DomainCategories] = {
    "Product_Relation_Prediction": _REVIEW_CATEGORIES,
    "Sentiment_Analysis": _REVIEW_CATEGORIES,
    "Sequential_Recommendation": _REVIEW_CATEGORIES,
    "Answerability_Prediction": DomainCategories(
        in_domain=("Sports_and_Outdoors", "Tools_and_Home_Improvement"), out_of_domain=("Cell_Phones_and_Accessories",)
    ),
    "Answer_Generation": DomainCategories(
        in_domain=("Electronics", "Home_and_Kitchen"), out_of_domain=("Cell_Phones_and_Accessories",)
    ),
}


class BuildConfig(JobConfig):
    """`python -m jobs.build`: samples from raw sources."""

    raw_dir: str = location(description="directory that holds the raw sources, e.g. amazon_google/")
    tasks: tuple[str, ...] | None = content(None, description="tasks to build; null = all ten")
    sizes: Sizes = content(Sizes(), description="samples to keep of each split")
    task_sizes: dict[str, Sizes] = content(
        default_factory=dict, description="other sizes for some tasks: {Sequential_Recommendation: {train: 100}}"
    )
    categories: dict[str, DomainCategories] = content(
        default_factory=dict,
        description="categories by task, {PRP: {in_domain: [...], out_of_domain: [...]}}, or `all` for every task that "
        "has them; others keep the paper's",
    )
    instructions: str | None = location(None, description="catalogue of instructions (JSON); null = the project's own")
    negatives: Literal["random", "hard"] = content(
        "random",
        description="wrong answers of Product_Matching and Sequential_Recommendation: drawn at random, or the products "
        "with the most similar titles that do not match",
    )
    sequential_split: Literal["leave_one_out", "user_disjoint"] = content(
        "leave_one_out",
        description="Sequential_Recommendation: each user's last three purchases are the targets of train, val and "
        "test (the paper's); or each user is in one split only, with the last purchase as target",
    )
    held_out_rows: int = content(
        1000,
        ge=1,
        description="Attribute_Value_Extraction: attributes are held out until they cover so many test rows (at most "
        "half of them): the out-of-domain test",
    )
    leakage: Literal["report", "drop", "fail"] = content(
        "report",
        description="train rows whose (task, input) is also in a test split: count them, remove them, or stop",
    )
    near_duplicate_rows: int = content(
        2000, ge=0, description="rows of each split in which near duplicates are looked for; 0 = not at all"
    )
    bucket_bytes: int = operational(
        8 << 20, ge=1, description="raw bytes (compressed as they are) of one unit of work; changes no row"
    )
    core_rows: int = operational(
        8_000_000,
        ge=0,
        description="Sequential_Recommendation: ratings of a category that one process peels to the "
        "5-core in memory, some 40 bytes each; more are peeled in turns of many",
    )
    num_workers: int | None = operational(
        None, ge=1, description="units at work at once; null = as many as the cluster has room for"
    )


class OwnDataDefaults(Frozen):
    """What rows of users' own data get where they have no such column."""

    task: str | None = content(None, description="task of the rows: one of the ten, or a name of your own")
    split: Literal["train", "val", "test"] | None = content(None, description="split of the rows")
    setting: str | None = content(None, description="setting of the rows")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_settings((self.setting,) if self.setting else None)
        return self


class IngestConfig(JobConfig):
    """`python -m jobs.ingest`: samples from the ECInstruct release or from users' own instruction data."""

    release: str = location(description="dataset.json of the release; or own data as .jsonl or .parquet")
    qpr_labels: str | None = location(None, description="qpr_labels.json of the release; null = no NDCG for QPR")
    on_bad_row: Literal["fail", "quarantine"] = content(
        "fail", description="a row with an unknown task, split or setting: stop, or write it to quarantine/ and go on"
    )
    defaults: OwnDataDefaults = content(OwnDataDefaults(), description="own data: values of columns that it lacks")
    max_rows_per_file: int = content(50_000, ge=1, description="rows of one Parquet file")


class FetchConfig(ClusterConfig):
    """`python -m jobs.fetch`: raw sources and the release, brought to raw_dir."""

    raw_dir: str = location(description="directory or URL that the files are brought to, e.g. s3://BUCKET/raw")
    sources: tuple[str, ...] | None = content(
        None, description="what to fetch: sources, or names and directories below raw_dir; null = all but the optional"
    )
    addresses: str | None = location(None, description="upstream addresses (YAML); null = the project's own")
    chunk_bytes: int = operational(64 * 1024 * 1024, ge=1, description="bytes of one range: what a kill can lose")
    max_connections: int = operational(8, ge=1, description="most ranges fetched at once, over the whole cluster")
    max_retries: int = operational(5, ge=0, description="tries in a row without a new byte, after the first")
    backoff_seconds: float = operational(1.0, ge=0, description="wait before the first retry; doubles, up to 60 s")
    timeout_seconds: float = operational(60.0, gt=0, description="silence after which a connection is given up")
