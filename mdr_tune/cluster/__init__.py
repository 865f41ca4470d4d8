"""The machines that a sweep runs on: their CPUs and GPUs, those that may still come, and the services beside them.

machine          nodes of a cluster and nodes that may come, as a plan counts them        plain Python
joined           join a running cluster, and count its nodes                              Ray
autoscaler       nodes that the head's autoscaler may add, and its present activity       Ray
ray_environment  environment variables that Ray reads                                     plain Python
ray_start        check that Ray can start on this machine                                 plain Python
auth_token       Ray's token, readable by its owner alone                                 plain Python
file_check       all checks of a cluster file, each a function in `checks/`               Ray, botocore's data
cluster_file     contents of a cluster file, and the line of each key                     plain Python
aws_instances    vCPUs and GPUs of EC2's instance types                                   plain Python
mlflow_server/   the MLflow server as a service, under systemd or supervisord
"""
