"""The Lambda function that people write first: json.loads, and boto3 for each alert. BASELINE=batched uses batch calls.

It promises less than the pipeline: no state, no order, no exactness, no outbox; a failure repeats the whole batch.
Started as a process it is its own runtime loop.
"""

import http.client
import json
import os
import time
from decimal import Decimal

import boto3

options = {"region_name": os.environ["AWS_REGION"], "endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
table = boto3.resource("dynamodb", **options).Table(os.environ["ALERTS_TABLE"])
sns = boto3.client("sns", **options)
TOPIC = os.environ["ALERT_TOPIC_ARN"]
RULES = [("Up", lambda price: price > 120), ("Down", lambda price: price < 110)]


def alerts_of(event):
    for record in event["Records"]:
        body = json.loads(record["body"])
        for e in body if isinstance(body, list) else [body]:
            price = float(e["price"])
            for name, fires in RULES:
                if fires(price):
                    yield {
                        "symbol": e["symbol"], "alert_id": f"{e['timestamp']}#{name}#{e['sequence']}", "rule": name,
                        "severity": "warning", "timestamp": e["timestamp"], "price": Decimal(e["price"]),
                        "summary": f"{e['symbol']} at {e['price']}", "stored_at": int(time.time() * 1000),
                    }


def message(alert):
    return {
        "Message": json.dumps(alert, default=str), "Subject": f"{alert['symbol']} {alert['rule']}",
        "MessageAttributes": {"symbol": {"DataType": "String", "StringValue": alert["symbol"]}},
    }


def naive(event):
    for alert in alerts_of(event):
        table.put_item(Item=alert)
        sns.publish(TopicArn=TOPIC, **message(alert))
    return {"batchItemFailures": []}


def batched(event):
    alerts = list(alerts_of(event))
    with table.batch_writer() as batch:
        for alert in alerts:
            batch.put_item(Item=alert)
    for i in range(0, len(alerts), 10):
        entries = [{"Id": str(n), **message(a)} for n, a in enumerate(alerts[i : i + 10])]
        sns.publish_batch(TopicArn=TOPIC, PublishBatchRequestEntries=entries)
    return {"batchItemFailures": []}


def serve(handler):
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    runtime = "/2018-06-01/runtime/invocation/"
    while True:
        api.request("GET", runtime + "next")
        response = api.getresponse()
        request_id = response.headers["Lambda-Runtime-Aws-Request-Id"]
        answer = json.dumps(handler(json.loads(response.read())))
        api.request("POST", runtime + request_id + "/response", answer)
        api.getresponse().read()


serve(batched if os.environ.get("BASELINE") == "batched" else naive)
