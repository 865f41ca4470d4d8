"""Lanes: long-lived DDP worker groups of Ray Train that run one trial after another.

leases             who has which lane                                                      asyncio only
mailbox            commands and replies between one trial and the workers of one lane      asyncio only
progress           whether the workers still get on                                        plain Python
hub                the actor that holds the mailboxes of a sweep and leases lanes          Ray
worker             what each worker of a lane does: take a command, run it, reply          Ray Train, training/
heartbeat          a worker's pulse; ends the process if it is stuck                       plain Python
processes          which process a worker is, and how another one ends it                  plain Python
lane               start and stop the lanes of a sweep                                     Ray
lane_trainer       the TorchTrainer of a lane                                              Ray Train
fixed_workers      no requests to an autoscaler that has no nodes to add                   Ray Train
lost_workers       tells the hub; keeps Ray Train from replacing workers that the sweep ended  Ray Train
ray_internals      what Ray tells by private names only                                    Ray
trainable          a trial, as Ray Tune sees it: one epoch a step                          Ray Tune
checkpoint_file    a checkpoint's files, written whole, checked when read                  plain Python
checkpoint_search  of damaged checkpoints the one before                                   plain Python
disk_room          wait while a disk is full                                               plain Python
"""
