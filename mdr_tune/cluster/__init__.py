"""The machines that a sweep runs on, the checks of cluster files, and the MLflow server.

The modules, with their purpose and the packages that they need:

machine          number of CPUs and GPUs, now and when all possible nodes have joined     plain Python
joined           join a running cluster, and count its nodes                              Ray
autoscaler       nodes that the head's autoscaler may add, and nodes that it is starting  Ray
ray_environment  environment variables that Ray reads                                     plain Python
ray_start        check that Ray can start on this machine                                 plain Python
auth_token       make Ray's token, and keep other users from reading it                   plain Python
file_check       run all checks of a cluster file; each is a function in `checks/`        Ray, botocore's data
cluster_file     contents of a cluster file, and the line of each key                     plain Python
aws_instances    vCPUs and GPUs of EC2's instance types                                   plain Python
mlflow_server/   the MLflow server as a service, under systemd or supervisord
"""
