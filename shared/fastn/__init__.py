"""The Fastn domain library: everything the Lambda functions, the CDK app and the command line share."""
