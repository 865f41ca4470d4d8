"""The MLflow server as a service of this machine, which is started again after a crash: `mdr-tune mlflow-server`.

service       install and uninstall the server, return its status, and run it
settings      the settings of the server, and the file that has them
store_checks  check that the database, the place for artifacts and the port can be used
environment   the environment variables of the server
keepers       keep the server running, by systemd or supervisord
"""
