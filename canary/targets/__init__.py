"""What is released: the workload, its primary copy, their Services, and the configuration they mount."""
