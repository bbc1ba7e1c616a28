// Package constructs holds MarketDataPipeline, a CDK construct that builds the whole pipeline:
//
//	producers ──> market-data (SQS) ──> data-processor (Lambda) ──> market-alerts (DynamoDB)
//	                 │ retries used up        │       │  └────────> market-state  (DynamoDB)
//	                 v                        v       v
//	          market-data-dlq       market-data-rejects   trading-alerts (SNS) ──> e-mail, SQS, ...
//
//	clock (EventBridge, once a minute) ──> data-processor ──> market-data: clock events for quiet series
//
//	alarms (CloudWatch) ──> market-data-alarms (SNS)        everything under one KMS key
//
// The least use is one line; every zero prop has a documented default:
//
//	constructs.NewMarketDataPipeline(stack, "MarketData", nil)
//
// Logical ids, physical names and outputs are a contract with what is deployed: testdata holds the golden template.
package constructs
