"""One thin module per job: `python -m jobs.<job> RECIPE.yaml key=value`."""
