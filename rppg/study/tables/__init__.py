"""The tables of a study, one file each; `rppg.study.results` puts them together."""
