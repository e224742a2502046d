"""From samples and a model to answers: requests, engines, and the predict stage."""
