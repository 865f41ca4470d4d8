"""The MLflow server of a machine as a service that comes back after a crash: `mdr-tune mlflow-server`.

service       install, status, uninstall, and the server itself
settings      what the server is told, and its file
store_checks  whether database, artifacts and port can be used
environment   the variables that the server sees
keepers       what keeps it running: systemd, or supervisord
"""
