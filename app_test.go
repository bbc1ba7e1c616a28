package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"

	pipeline "example.com/market-data-pipeline/constructs"
	"example.com/market-data-pipeline/functions/processor/settings"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	flag.Parse()
	os.Setenv("CDK_VALIDATION", "false") // most of the time of a synth; CI synthesizes once with it
	jsii.Close()                         // the kernel that package initialization prepared has the environment from before
	code := m.Run()
	jsii.Close() // the only kernel of this binary
	os.Exit(code)
}

// asProgram makes the test binary the app itself.
const asProgram = "MARKET_DATA_TEST_AS_PROGRAM"

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestPropsFrom(t *testing.T) {
	type props = pipeline.MarketDataPipelineProps
	type context = map[string]any
	tests := []struct {
		name    string
		context context
		env     string // ENVIRONMENT_SUFFIX
		want    props
		err     string // a part of it
	}{
		{name: "nothing", want: props{Suffix: "dev"}},
		{name: "environment", env: "staging", want: props{Suffix: "staging"}},
		{name: "context first", context: context{"suffix": "prod"}, env: "staging", want: props{Suffix: "prod"}},
		{name: "number as suffix", context: context{"suffix": 7.0}, want: props{Suffix: "7"}},
		{name: "empty suffix", context: context{"suffix": ""}, err: "context suffix is empty"},
		{name: "suffix of another kind", context: context{"suffix": []any{"a"}}, err: "context suffix is [a]: give a text"},
		{name: "delivery", context: context{"delivery": "unordered"}, want: props{Suffix: "dev", Delivery: settings.Unordered}},
		{name: "rules", context: context{"rules": "my.yaml"}, want: props{Suffix: "dev", RulesFile: "my.yaml"}},
		{name: "tags", context: context{"tags": "team=desk, cost=a=b,empty="}, want: props{Suffix: "dev",
			Tags: map[string]string{"team": "desk", "cost": "a=b", "empty": ""}}},
		{name: "tag without value", context: context{"tags": "team"}, err: `context tags has "team": give key=value`},
		{name: "tag twice", context: context{"tags": "a=1,a=2"}, err: `context tags has "a" twice`},
		{name: "emails", context: context{"alertEmail": "a@example.com,b@example.com", "alarmEmail": "c@example.com"},
			want: props{Suffix: "dev", AlertEmails: []string{"a@example.com", "b@example.com"}, AlarmEmails: []string{"c@example.com"}}},
		{name: "no reserved concurrency", context: context{"reservedConcurrency": "off"}, want: props{Suffix: "dev", DisableReservedConcurrency: true}},
		{name: "reserved concurrency", context: context{"reservedConcurrency": "20"}, want: props{Suffix: "dev", ReservedConcurrency: 20}},
		{name: "reserved concurrency of cdk.json", context: context{"reservedConcurrency": 20.0}, want: props{Suffix: "dev", ReservedConcurrency: 20}},
		{name: "reserved concurrency in words", context: context{"reservedConcurrency": "many"}, err: `context reservedConcurrency is "many"`},
		{name: "no clock", context: context{"clock": "off"}, want: props{Suffix: "dev", DisableClock: true}},
		{name: "clock", context: context{"clock": "on"}, want: props{Suffix: "dev"}},
		{name: "clock of another kind", context: context{"clock": false}, err: `context clock is "false": give on or off`},
		{name: "too little reserved", context: context{"reservedConcurrency": "1"}, err: "whole number of at least 2, or off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := propsFrom(func(key string) any { return tt.context[key] }, environment("ENVIRONMENT_SUFFIX", tt.env))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
		})
	}
}

// newApp is an app with the context of cdk.json and of pairs that does not build the function.
func newApp(t *testing.T, pairs ...string) awscdk.App {
	t.Helper()
	b, err := os.ReadFile("cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Context map[string]any }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	file.Context["aws:cdk:bundling-stacks"] = []string{}
	for i := 0; i < len(pairs); i += 2 {
		file.Context[pairs[i]] = pairs[i+1]
	}
	return awscdk.NewApp(&awscdk.AppProps{Context: &file.Context, Outdir: jsii.String(t.TempDir())})
}

func TestStack(t *testing.T) {
	goldenTemplate, err := os.ReadFile(filepath.Join("constructs", "testdata", "ordered.template.json"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		context []string
		env     func(string) string
		suffix  string
		queue   string
	}{
		{"without suffix", nil, environment(), "dev", "market-data-dev.fifo"},
		{"with suffix", []string{"suffix", "prod"}, environment("ENVIRONMENT_SUFFIX", "staging"), "prod", "market-data-prod.fifo"},
		{"of the environment, unordered", []string{"delivery", "unordered", "tags", "team=desk"}, environment("ENVIRONMENT_SUFFIX", "staging"), "staging", "market-data-staging"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stack, err := addStack(newApp(t, tt.context...), tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := *stack.StackName(), "market-data-"+tt.suffix; got != want {
				t.Errorf("stack is %s, want %s", got, want)
			}
			if *stack.TerminationProtection() {
				t.Error("the stack is protected from its own destroy")
			}
			if !*awscdk.Token_IsUnresolved(stack.Account()) || !*awscdk.Token_IsUnresolved(stack.Region()) {
				t.Error("the template is bound to an account or region")
			}
			template := assertions.Template_FromStack(stack, nil)
			outputs := slices.Sorted(maps.Keys(*template.FindOutputs(jsii.String("*"), nil)))
			want := []string{"AlarmTopicArn", "DashboardName", "DeadLetterQueueUrl", "DynamodbTableName", "KeyArn",
				"LambdaFunctionName", "LogGroupName", "RejectsQueueUrl", "SnsTopicArn", "SqsQueueUrl", "StateTableName"}
			if !slices.Equal(outputs, want) {
				t.Errorf("outputs are %v, want %v", outputs, want)
			}
			has(t, template, "AWS::SQS::Queue", map[string]any{"QueueName": tt.queue})
			has(t, template, "AWS::Lambda::Function", map[string]any{"FunctionName": "data-processor-" + tt.suffix,
				"Environment": map[string]any{"Variables": map[string]any{"ENVIRONMENT": tt.suffix}}})
			if tt.suffix == "dev" { // the construct's golden template is what the app deploys: same logical ids
				var golden struct{ Resources map[string]any }
				if err := json.Unmarshal(goldenTemplate, &golden); err != nil {
					t.Fatal(err)
				}
				got := (*template.ToJSON())["Resources"].(map[string]any)
				if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(golden.Resources)); !slices.Equal(g, w) {
					t.Errorf("logical ids are\n%v\nwant\n%v", g, w)
				}
			}
			if slices.Contains(tt.context, "team=desk") {
				has(t, template, "AWS::KMS::Key", map[string]any{"Tags": assertions.Match_ArrayWith(&[]any{
					map[string]any{"Key": "team", "Value": "desk"}})})
			}
		})
	}
}

// has asserts that a resource of that type has the properties; the CDK's assertion panics where it fails.
func has(t *testing.T, template assertions.Template, kind string, properties map[string]any) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%v", r)
		}
	}()
	template.HasResourceProperties(jsii.String(kind), properties)
}

func TestRefusedBeforeAnythingIsBuilt(t *testing.T) {
	app := newApp(t, "suffix", "Prod", "delivery", "fifo", "tags", "a", "alarmEmail", "ops", "rules", "no-such.yaml")
	_, err := addStack(app, environment())
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`Suffix is "Prod"`, `Delivery is "fifo"`, `tags has "a"`, `AlarmEmails has "ops"`, "no-such.yaml"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %s:\n%v", want, err)
		}
	}
	for _, child := range *app.Node().Children() {
		if *awscdk.Stack_IsStack(child) {
			t.Errorf("%s was built", *child.Node().Path())
		}
	}
}

// TestRefusalReadsWell runs the real program: a person sees one line per mistake, not a panic.
func TestRefusalReadsWell(t *testing.T) {
	var stdout, stderr strings.Builder
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"=yes", `CDK_CONTEXT_JSON={"suffix":"under_score","reservedConcurrency":"1"}`, "CDK_OUTDIR="+t.TempDir())
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 1 {
		t.Errorf("ended with %v, want exit code 1", err)
	}
	var lines []string
	for line := range strings.Lines(stderr.String()) {
		if strings.HasPrefix(line, "!!") { // jsii about the version of Node
			continue
		}
		lines = append(lines, line)
	}
	if len(lines) != 2 || stdout.Len() > 0 {
		t.Errorf("stdout %q, stderr\n%s\nwant two lines", stdout.String(), stderr.String())
	}
	for i, want := range []string{`market-data: context reservedConcurrency is "1"`, `market-data: Suffix is "under_score"`} {
		if i < len(lines) && !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %s...", i+1, lines[i], want)
		}
	}
}

func TestCDKJSON(t *testing.T) {
	b, err := os.ReadFile("cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"app": "go run .", "output": "cdk.out", "versionReporting": false, "requireApproval": nil} {
		if got := file[key]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
}
