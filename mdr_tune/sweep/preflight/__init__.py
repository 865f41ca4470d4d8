"""Checks of a launch before its first worker starts: what would cost hours later is said now, with its remedy.

run          the checks in their order                                                Ray
nodes        a probe on each node, asked side by side                                 Ray
probe        what a node says of itself; sent there whole, standard library only      plain Python
judge        what the answers mean                                                    plain Python
problems     a finding, and the lines that a user reads                               plain Python
data         weights and images onto all nodes; the same everywhere                   Ray
artifacts    whether MLflow's artifacts can be written                                MLflow
preparation  the same for nodes that join later, called by each worker of a lane      plain Python
"""
