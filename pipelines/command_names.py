"""The commands of `copydetect`, and what each is for."""

COMMANDS = {
    "dedup": "find the copies inside a collection",
    "match": "find the queries that are copies of references",
    "nightly": "find what is new against everything before, and add it to a catalogue",
    "search": "search a catalogue for a few pictures",
    "catalog": "maintain a catalogue: show, verify, rollback, prune, …",
    "export": "write lists and tables of a finished run for other programs",
    "report": "draw the pages of a finished run again",
    "evaluate": "score a run against a ground truth",
    "calibrate": "find the threshold for a wanted precision on your own pictures",
    "edits": "make labelled edited copies of a collection",
    "train": "train or fine-tune a descriptor",
    "benchmark": "measure accuracy, speed and scale",
}
