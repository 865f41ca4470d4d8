"""The tests mirror the package: `tests/x/test_y.py` tests `mdr_tune/x/y.py`. What they share:

A machine that behaves as told
    waiting         wait for another thread or process; the one time limit, which ends a hang
    ranks           run a script as W ranks of a gloo group
    lane_session    one Ray with one lane of two workers, for all tests marked `ray`
    small_disk      a file system that is soon full
    file_server     an HTTP server that misbehaves as told
    mlflow_process  an MLflow server that is started, killed and started again
    mlflow_globals  MLflow's globals, put back
    empty_store     an MLflow store with no run in it, quickly
    pretended_gpu, pretended_streams    a GPU for machines without one: its rules are kept, its work is counted
    faults/sweeps   small sweeps on the shared lane, with a fault at a chosen moment
    cluster/fake_cloud, cluster/aws_requests, cluster/lab    an autoscaler, AWS, and machines within this one
A user's commands
    cli/as_a_user   commands in a folder, as typed, each in a process
    cli/run_command a command of mdr-tune in this process, or a launch on the shared Ray
Inputs
    data/published/layouts, data/listings/listings, data/images/pictures    data sets, with small pictures
    data/few_letters    the first classes of the letters
    own_components  a network, losses and miners as a user writes them
    official_state  models of the authors' code
    cli/recorded_sweep, cli/recorded_ablation    sweeps in a real MLflow store
    report/few_figures      reports that are soon drawn
    report/make_evidence    an ablation as MLflow would give it back
    sweep/make, tracking/told, tracking/tiny_trial, retrieve/make    records, arms, a trained trial, indexes
    sweep/fixtures  a storage that an earlier version wrote
    fuzz/mutate     good files, damaged at random
The plain way, to compare with
    training/naive_retrieval, search/schedulers/naive, report/plots/plain_table
"""
