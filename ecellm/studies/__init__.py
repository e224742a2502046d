"""Studies: grids of pipeline stages that compare what makes a model good."""
