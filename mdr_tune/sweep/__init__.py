"""Plan a sweep, run it on Ray, record its outcome, and resume it after an interruption.

Samplers, schedulers, stop rules and the ledger are in `mdr_tune.search`, the journal in `mdr_tune.records`.

Before anything runs
    plan              the plan of a launch, complete and checked
    stores            the storage folder and the MLflow store; in_store: checks of the sweep's runs in that store
    lane_layout       the number of lanes, and of workers in each lane, that fit on the machine
    cost, disk_use    epochs, time and disk space that a launch will take
    prepare           data sets and weights on this machine; data_fit: whether a sweep fits the size of the data
    warm_start        the best configurations of another sweep, as points to start from
    stored_launches   earlier launches, to be resumed; last_writer: which copy of a launch may be resumed
    preflight/        checks of all nodes of a cluster
The search of an arm
    search_run        the Tune experiment of one arm
    one_trial         an arm with an empty space: its one trial, without a search
    events            Tune's callbacks, which enter events into the ledger
    interrupts        Ctrl-C while a search runs
The launch as a whole
    launch            all steps of a launch, in order
    run               the searches of the arms, then the evaluation; finals: evaluation of one trial on the test classes
    recording         champion, figures, description and report after the last trial
    live_description  description of the MLflow run while the sweep runs
    running_lanes     Ray and the lanes; ray_session: Ray alone
    watch, ray_watch  threads that watch the lanes and Ray itself
One trial
    rerun             run a recorded trial again and compare its numbers
"""
