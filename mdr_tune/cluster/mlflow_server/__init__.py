"""The MLflow server of a machine as a service that comes back after a crash and a reboot: `mdr-tune mlflow-server`.

arguments    the options of the command
service      install, status, uninstall
settings     what the server is told, and its file
databases    whether the backend store can be used
artifacts    whether artifacts can be written where they are to go
environment  the variables that the server sees
command      the server's command line
ports        whether its port is free, and who has it if not
processes    which processes are the server's
state        what is known of one that runs
systemd      kept running by systemd
detached     kept running without systemd: by `supervisor`, and cron after a reboot
supervisor   starts the server again when it ends
"""
