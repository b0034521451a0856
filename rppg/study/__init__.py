"""Studies: many trainings and evaluations as one table, `rppg benchmark`.

config.py      what a study consists of; one TOML file says all of it
toml_text.py   its text
parts.py       the parts of a dataset that are trained on and tested on
plan.py        the trials: one learner, one training set, one seed, and what each is tested on
survey.py      which parts can be opened, and what is in them
key.py         what identifies a trial's result: its settings, its data, and the code behind it
store.py       finished trials on disk, one file each
claims.py      which process works on which trial, where several share a folder
run_trial.py   trains and tests one trial: train_trial.py, evaluate_part.py
progress.py    how far a trial is, in a file
counter.py     what is left of the study while it runs, in a line
run.py         runs the missing trials, in one process or several
cost.py        what is left to do, in seconds, disk and memory
statistics.py  intervals over subjects and seeds
results.py     from stored trials to tables; tables/ has a file for each
documents.py   writes study.json, study.csv, and what the following two return
latex.py       study.tex
report/        study.html, a file for each section
"""
