"""Check a launch before its first worker starts: a problem that would cost hours later is told now, with its remedy.

Module          Content                                                                   Needs
preflight       all checks in their order                                                 Ray
nodes           a probe on each node; all are asked side by side                          Ray
probe           facts about a node, sent there whole; standard library only               plain Python
judge           problems that the facts mean                                              plain Python
problems        a problem, and the lines that a user reads                                plain Python
data_on_nodes   weights and images brought onto all nodes, the same on each               Ray
artifact_store  a test that MLflow's artifacts can be written                             MLflow
preparation     versions, GPU and data of a node that may join later, for each worker     Ray
"""
