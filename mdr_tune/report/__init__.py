"""Turn the recorded trials of a sweep into what people read: tables, sentences, figures and pages.

Shared parts
    rows               the row, which is one configuration with its seeds, and the table of an ablation
    names              metrics and parameters in words
    row_settings       the method and the setting of a row in words
    row_differences    the rows that are compared, and their differences
    sentences          which row is the best, and what MDR gained
    ablation_notes     the notes below an ablation's table
A sweep
    leaderboard        the ranking of the sweep's trials
    description        the text of the sweep's run in MLflow
    budget             the trials, compared at the same number of epochs
    study, figures     the compared trials as an Optuna study, and Optuna's figures of this study
    comparison         two runs of one trial, compared number by number
The report
    ablation           the table of a sweep, made from recorded evidence
    overview           one table of several sweeps
    write, page        all files of a report in one folder; its HTML page
    report_folder      the checks before an old report is replaced, and its replacement
    output/            words, Markdown, LaTeX, CSV and Parquet
    plots/, style      the figures, one to a file, and their look
"""
