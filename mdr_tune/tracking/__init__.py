"""Code that talks to MLflow. It runs only on the driver, so that there is one writer."""
