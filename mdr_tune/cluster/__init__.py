"""The machines a sweep runs on: what there is, what may still come, and what serves them.

machine        nodes and those that may come, as a plan counts them                     plain Python
joined         join a running cluster; what it has                                      Ray
autoscaler     what the head's autoscaler may add, and what it does                     Ray
environment    what Ray reads from the environment                                      plain Python
file_check     all checks of a cluster file, each a function in `checks/`               Ray, botocore's data
cluster_file   a cluster file and where in it each key stands                           plain Python
aws_instances  vCPUs and GPUs of machine types                                          plain Python
mlflow_server/ the MLflow server as a service, under systemd or supervisord
"""
