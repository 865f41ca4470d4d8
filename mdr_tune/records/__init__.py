"""Records of trials and sweeps: the journal, metrics, results of each query, and what repeats a trial."""
