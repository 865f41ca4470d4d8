"""A sweep: what is planned, the resources it fits on, the search, what survives a crash, and the run of all of it.

Before anything runs
    plan           what a launch is going to do
    stores         where it writes; resources, cluster: where it runs; cost: what it will take
    prepare        data and weights; warm_start: the best of another sweep, tried first
    resume         find a launch in the storage and go on with it
The search of an arm
    search_run     one Tune experiment, from where an earlier session left it to its end
    trial_source   where Tune's trials come from; one_trial: where nothing is searched
    search         the Optuna study; samplers: what draws from it
    schedulers/    which trials are stopped, paused or taken over
    stop_rules     when a search ends early; interrupts: Ctrl-C
What happened
    events         Tune's callbacks
    ledger         every event: journal first, then study and listeners
    journal        the truth, on disk; retention: which checkpoints stay
The launch as a whole
    launch         sets it up and ends it; run: the order of the searches; finals: test classes
    recording      champion, description, report; live_description: what is said on the way
    running_lanes  Ray and the lanes; session: Ray; watch: what the lanes have to say;
                   ray_watch: whether Ray is lost
    disk_use       what its checkpoints may come to, and what is there after it
    rerun          one recorded trial once more
"""
