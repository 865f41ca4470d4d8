"""Lanes: long-lived DDP worker groups of Ray Train that run one trial after another.

mailbox    commands and replies between one trial and the workers of one lane     asyncio only
hub        the actor that holds the mailboxes of a sweep and leases lanes          Ray
worker     what each worker of a lane does: take a command, run it, reply          Ray Train, training/
lane       start and stop the TorchTrainer of each lane                            Ray Train
trainable  a trial, as Ray Tune sees it: one epoch a step                          Ray Tune
"""
