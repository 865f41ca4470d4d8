"""Lanes: long-lived DDP worker groups of Ray Train that run one trial after another.

Each module, and what it needs:

messages        commands, replies and errors between trials, hub and workers            plain Python
lane_resources  number of lanes, and CPUs and GPUs of their workers                     plain Python
leases          which trial has which lane                                              asyncio
stall_watch     whether the workers of a lane still make progress                       plain Python
mailbox         commands and replies between one trial and the workers of one lane      asyncio
processes       identify a worker's process, and end it from another one                plain Python
hub             the actor that holds the mailboxes of a sweep and leases its lanes      asyncio
lane            start and stop the hub and the lanes of a sweep                         Ray
lane_trainer    the TorchTrainer of a lane                                              Ray Train
lost_workers    tell the hub about lost workers; do not replace them after the end      Ray Train
ray_seams       every private name of Ray, each behind a function of ours               Ray inside
worker          the loop of each worker: take a command, run it, reply                  Ray Train, training/
meeting         how the workers of a lane find each other                               torch.distributed
failures        tell from an exception whether trial, worker or GPU is to blame         torch
heartbeat       a worker's thread that reports progress, and ends a stuck process       plain Python
trainable       a trial as Ray Tune sees it: one step is one epoch                      Ray Tune
"""
