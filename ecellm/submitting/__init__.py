"""What `python -m jobs.submit` does: a recipe becomes a job on a Ray cluster, and is followed to its end.

request.py       which job a recipe is for, its command, and the id that the same run always gets
upload.py        which files of the checkout go along, and the runtime environment
job_server.py    the cluster's address and token, and its errors in plain words
following.py     one submission's log until its end, and what that end was
attempts.py      attaching to a run that is at work, or starting it; again where its driver was lost
"""
