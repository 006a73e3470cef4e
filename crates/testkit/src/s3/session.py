# session.py ENDPOINT REGION KEY SECRET: print key, secret and token of a session that may use S3, a line each.
import json, sys, boto3

endpoint, region, key, secret = sys.argv[1:]
us = dict(endpoint_url=endpoint, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret)
allow = {"Effect": "Allow", "Action": ["sts:GetSessionToken", "s3:*"], "Resource": ["*"]}
policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
boto3.client("iam", **us).put_user_policy(UserName="u1", PolicyName="sessions", PolicyDocument=policy)
given = boto3.client("sts", **us).get_session_token(DurationSeconds=3600)["Credentials"]
print(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], sep="\n")
