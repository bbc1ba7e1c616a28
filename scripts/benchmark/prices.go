package main

// price is one of AWS's, in USD.
type price struct {
	name   string
	usd    float64
	unit   string
	source string
}

// pricesAsOf and pricesRegion say which prices these are: on demand, first tier, without the free tier.
const (
	pricesAsOf   = "2026-11-22"
	pricesRegion = "us-east-1"
)

// prices has one entry for each thing that is billed. Sources are under https://aws.amazon.com.
var prices = struct {
	sqsStandard, sqsFIFO, lambdaRequest, lambdaGBs, write, read, publish, logGB, kmsRequest price
	keyMonth, metricMonth, alarmMonth, dashboardMonth                                       price
}{
	sqsStandard:    price{"SQS standard", 0.40e-6, "request of 64 KB", "/sqs/pricing"},
	sqsFIFO:        price{"SQS FIFO", 0.50e-6, "request of 64 KB", "/sqs/pricing"},
	lambdaRequest:  price{"Lambda request", 0.20e-6, "invocation", "/lambda/pricing"},
	lambdaGBs:      price{"Lambda duration, arm64", 0.0000133334, "GB-second, to the millisecond", "/lambda/pricing"},
	write:          price{"DynamoDB write", 0.625e-6, "unit of 1 KB; in a transaction two; each index entry one", "/dynamodb/pricing/on-demand"},
	read:           price{"DynamoDB read", 0.125e-6, "unit of 4 KB, strongly consistent", "/dynamodb/pricing/on-demand"},
	publish:        price{"SNS publish", 0.50e-6, "call of 64 KB, up to 10 messages; deliveries apart", "/sns/pricing"},
	logGB:          price{"CloudWatch Logs", 0.50, "GB ingested", "/cloudwatch/pricing"},
	kmsRequest:     price{"KMS request", 3e-6, "request", "/kms/pricing"},
	keyMonth:       price{"KMS key", 1, "month", "/kms/pricing"},
	metricMonth:    price{"custom metric", 0.30, "month", "/cloudwatch/pricing"},
	alarmMonth:     price{"alarm", 0.10, "month", "/cloudwatch/pricing"},
	dashboardMonth: price{"dashboard", 3, "month", "/cloudwatch/pricing"},
}

func (b *bench) showPrices() {
	p := &prices
	t := &table{Title: "Prices in USD, " + pricesRegion + ", as of " + pricesAsOf + ", first tier, no free tier", Columns: []string{"what", "USD", "per", "source"}}
	for _, x := range []price{p.sqsStandard, p.sqsFIFO, p.lambdaRequest, p.lambdaGBs, p.write, p.read, p.publish, p.logGB, p.kmsRequest, p.keyMonth, p.metricMonth, p.alarmMonth, p.dashboardMonth} {
		usd, unit := x.usd*1e6, "million: "+x.unit
		if x.usd > 1e-3 {
			usd, unit = x.usd, x.unit
		}
		t.add(x.name, number(usd), unit, "https://aws.amazon.com"+x.source)
	}
	b.show(t)
}
