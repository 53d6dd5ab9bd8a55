"""What `lus watch` shows: the state of a run, read from its folder alone.

    states.py       the words: states, a cell, an arm, the grid as JSON
    cells.py        what lies in the folder of one cell
    signs.py        what the driver of the campaign last said of itself
    grid.py         all of it as arms x folds, quick to read again
    left.py         how long the rest will take
    terminal.py     for a terminal; prometheus.py for a metrics server; page.py for a browser
    show.py         the command

Why the folder alone: it is there while the campaign runs, on any machine that sees its storage,
and after the cluster is gone.
"""
