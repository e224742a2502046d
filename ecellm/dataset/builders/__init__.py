"""How each task's examples are built from raw files: one flow a task, steps that run as shards on Ray."""
