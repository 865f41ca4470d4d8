"""Turn the recorded trials of a sweep into what people read: tables, sentences, figures and pages.

Parts that the others share
    rows               one configuration with its seeds; the table of an ablation
    names              metrics and parameters in words
    row_settings       the method and the setting of a row in words
    row_differences    the rows that are compared, and their differences
    sentences          which row is the best, and what MDR gained
    ablation_notes     what a reader of an ablation's table must know besides
A sweep
    leaderboard        its trials, ranked
    description        the text of its run in MLflow
    budget             its trials at the same number of epochs
    study              these trials as an Optuna study
    figures            Optuna's figures of this study
    comparison         two runs of one trial, number by number
The report
    ablation           the table, made from recorded evidence
    overview           the tables of several sweeps beside each other
    write              all files of a report in one folder
    report_folder      what this folder may replace, and how it takes its place
    page               the HTML page
    output/            words, Markdown, LaTeX, CSV and Parquet
    plots/             the figures, one to a file
    style              the look of all figures
"""
