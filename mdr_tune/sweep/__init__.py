"""Plan a sweep, run it on Ray, record its outcome, and go on with it after an interruption.

Samplers, schedulers, stop rules and the ledger are in `mdr_tune.search`, the journal in `mdr_tune.records`.

Before anything runs
    plan              the plan of a launch, complete and checked
    stores            the storage folder and the MLflow store; in_store: the sweep's runs in that store
    lane_layout       how many lanes of how many workers fit on the machine
    cost, disk_use    epochs, time and disk space that a launch will take
    prepare           data sets and weights; data_fit: whether batches, backbones and metrics fit the data
    warm_start        the best configurations of another sweep, as points to start from
    stored_launches   launches in the storage, to go on with; last_writer: which copy of one may go on
    preflight/        checks of all nodes of a cluster
The search of an arm
    search_run        one Tune experiment, from where an earlier session left it to its end
    one_trial         the search of an arm in which nothing is searched
    events            Tune's callbacks, entered into the ledger
    interrupts        Ctrl-C while a search runs
The launch as a whole
    launch            sets the launch up and ends it
    run               the searches in order, then the evaluation; finals: the test classes
    recording         champion, figures, description and report, after the last trial
    live_description  description of the MLflow run while the sweep runs
    running_lanes     Ray and the lanes; ray_session: Ray alone
    watch, ray_watch  threads that watch the lanes, and whether Ray is lost
One trial
    rerun             run a recorded trial again and compare its numbers
"""
