"""Records of trials and sweeps: journal, metrics, results of each query, and what is needed to repeat a trial."""
