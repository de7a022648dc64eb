"""The CDK app: everything `cdk deploy` sends to AWS, read from the declarations in `functions/`."""
