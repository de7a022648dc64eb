"""The embedded runtime: the deployed template on one machine, without containers or an AWS account."""
