"""What a person reads of a sweep: tables, sentences, figures and pages from recorded trials.

What all is made of
    rows           one configuration with its seeds, and the table of an ablation
    names, row_settings    metrics, parameters, methods and settings as people say them
    row_differences    which rows are compared, and how
    sentences      who is the best and what MDR gained; ablation_notes: what a reader must know beside that
A sweep
    leaderboard    its trials ranked
    description    of its run in MLflow: while it runs, at its end, and of an ablation
    budget, study, figures    what mattered among the parameters, at equal budget
    comparison     two runs of one trial, number by number
The report
    ablation       evidence -> table; overview: several sweeps beside each other
    build          a folder with all of it; report_folder: what may be replaced, whole or not at all
    page           HTML; output/: words, Markdown, LaTeX, CSV; plots/: figures; style: how they look
"""
