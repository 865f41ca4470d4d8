"""Everything that talks to MLflow. Runs on the driver only, so that there is one writer."""
