"""What happens to training images, drawn for the global batch; and the centre crop of an evaluation."""
