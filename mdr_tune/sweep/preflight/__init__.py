"""Check a launch before its first worker starts, since a problem that is found later may cost hours.

Module          Content                                                                   Needs
preflight       all checks in their order                                                 Ray
nodes           probes on all nodes, which are asked side by side                         Ray
probe           facts about a node; the module is sent to the node and runs there         plain Python
judge           functions that turn the facts into problems                               plain Python
problems        the class of a problem, and the lines that a user reads                   plain Python
data_on_nodes   preparation of weights and images on all nodes, and their comparison      Ray
artifact_store  a test whether MLflow's artifacts can be written                          MLflow
preparation     checks that each worker makes on its node, which may have joined later    Ray
"""
