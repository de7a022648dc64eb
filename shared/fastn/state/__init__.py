"""Workflow state: values that programs keep by key across runs or within one run, in DynamoDB."""
