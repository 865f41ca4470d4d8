"""What is kept of trials and sweeps: records, the journal, details of each query, where they came from."""
