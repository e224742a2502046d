"""How like the reference a free answer is: BERTScore, BLEURT and ROUGE-L, in one Parquet part per run and setting."""
