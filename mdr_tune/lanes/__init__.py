"""Lanes: long-lived DDP worker groups of Ray Train that run one trial after another.

The modules, with their purpose and what they import:

messages        commands, replies and errors between trials, hub and workers            plain Python
lane_resources  number of lanes, and CPUs and GPUs of their workers                     plain Python
leases          decide which trial has which lane                                       asyncio
stall_watch     detect that the workers of a lane make no progress                      plain Python
mailbox         commands and replies between one trial and the workers of one lane      asyncio
processes       identify a worker's process, so that another process can end it         plain Python
hub             the actor that holds the mailboxes of a sweep and leases its lanes      asyncio
lane            start and stop the hub and the lanes of a sweep                         Ray
lane_trainer    the TorchTrainer of a lane                                              Ray Train
lost_workers    tell the hub about lost workers; after a sweep, prevent replacements    Ray Train
ray_seams       every private name of Ray, each behind a function of this project       Ray, when used
worker          the loop of each worker: take a command, run it, reply                  Ray Train, training/
meeting         wait until all workers of a lane are there                              torch.distributed
failures        find out whether the trial, another worker or the GPU caused an error   torch
heartbeat       a worker's thread that reports progress, and ends a stuck process       plain Python
trainable       a trial as Ray Tune sees it: one step is one epoch                      Ray Tune
"""
