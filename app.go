// The app reads the CDK context and the environment and builds one stack around the MarketDataPipeline construct.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	pipeline "example.com/market-data-pipeline/constructs"
	"example.com/market-data-pipeline/functions/processor/settings"
)

func main() { os.Exit(run(os.Getenv, os.Stderr)) }

func run(getenv func(string) string, stderr io.Writer) int {
	defer closeKernel()
	app := awscdk.NewApp(nil)
	if _, err := addStack(app, getenv); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(stderr, "market-data:", strings.TrimSuffix(line, "\n"))
		}
		return 1
	}
	app.Synth(nil)
	return 0
}

// closeKernel ends the JavaScript kernel and removes its files. Two places of jsii wait for the process, and the one
// that loses the race reports an abnormal exit: nothing that a reader of the synth's output should worry about.
func closeKernel() {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	jsii.Close()
}

// addStack adds the stack that the app's context and the environment describe. It knows neither account nor region:
// the same template deploys wherever the CLI's credentials point.
func addStack(app awscdk.App, getenv func(string) string) (awscdk.Stack, error) {
	context := func(key string) any { return app.Node().TryGetContext(jsii.String(key)) }
	props, err := propsFrom(context, getenv)
	if err := errors.Join(err, props.Validate()); err != nil {
		return nil, err
	}
	stack := awscdk.NewStack(app, jsii.String("market-data-"+props.Suffix), &awscdk.StackProps{
		Description: jsii.String("Market data pipeline " + props.Suffix + ": SQS to Lambda to trading alerts in DynamoDB and SNS"),
	})
	pipeline.NewMarketDataPipeline(stack, "MarketData", props)
	return stack, nil
}

// propsFrom turns the context (-c key=value) and the environment into props, which are never nil. Its error joins
// everything that is wrong.
func propsFrom(context func(string) any, getenv func(string) string) (*pipeline.MarketDataPipelineProps, error) {
	var errs []error
	get := func(key string) string {
		switch v := context(key).(type) {
		case nil:
			return ""
		case string:
			return v
		case float64, bool: // from cdk.json
			return fmt.Sprint(v)
		default:
			errs = append(errs, fmt.Errorf("context %s is %v: give a text", key, v))
			return ""
		}
	}
	props := &pipeline.MarketDataPipelineProps{
		Suffix:      "dev",
		Delivery:    settings.Delivery(get("delivery")),
		RulesFile:   get("rules"),
		AlertEmails: list(get("alertEmail")),
		AlarmEmails: list(get("alarmEmail")),
	}
	if v := getenv("ENVIRONMENT_SUFFIX"); v != "" {
		props.Suffix = v
	}
	if context("suffix") != nil {
		props.Suffix = get("suffix")
		if props.Suffix == "" {
			errs = append(errs, errors.New(`context suffix is empty: give 1 to 20 of a-z, 0-9 and "-", or leave it out`))
		}
	}
	for _, entry := range list(get("tags")) {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("context tags has %q: give key=value,key=value", entry))
			continue
		}
		if _, twice := props.Tags[key]; twice {
			errs = append(errs, fmt.Errorf("context tags has %q twice: remove one", key))
		}
		if props.Tags == nil {
			props.Tags = map[string]string{}
		}
		props.Tags[key] = value
	}
	switch v := get("reservedConcurrency"); v {
	case "":
	case "off":
		props.DisableReservedConcurrency = true
	default:
		n, err := strconv.Atoi(v)
		if err != nil || n < 2 {
			errs = append(errs, fmt.Errorf("context reservedConcurrency is %q: give a whole number of at least 2, or off", v))
			break
		}
		props.ReservedConcurrency = n
	}
	switch v := get("clock"); v {
	case "", "on":
	case "off":
		props.DisableClock = true
	default:
		errs = append(errs, fmt.Errorf("context clock is %q: give on or off", v))
	}
	return props, errors.Join(errs...)
}

// list splits at commas and drops blanks around the parts.
func list(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
