"""What a person reads of a sweep: tables, sentences, figures and pages from recorded trials.

While it runs, and of a search
    summary        the end of a search in words and one table; running: the description of one that runs
    leaderboard    trials ranked; trial_table: them as Markdown
    budget, study, figures, axes    what mattered among the parameters, at equal budget
    comparison     two runs of one trial, number by number
An ablation's table
    ablation_table    what it is made of
    ablation       evidence -> table; table_rows: trials -> rows
    configurations    what a row is called, and which rows may be compared; differences: the comparison
    ablation_notes, chance    what a reader must know; gains: what MDR gained, in sentences
    overview       several sweeps beside each other
The report
    build          a folder with all of it; replacing: whole or not at all
    page           HTML; output/: words, Markdown, LaTeX, CSV; plots/: figures; style: how they look
    description    the table for the run's description in MLflow
names          parameters as people say them
"""
