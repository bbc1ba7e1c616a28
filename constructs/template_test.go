package constructs

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/jsii-runtime-go"

	"example.com/market-data-pipeline/functions/processor/settings"
)

var update = flag.Bool("update", false, "rewrite testdata/*.template.json from what is synthesized")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Setenv("CDK_VALIDATION", "false") // most of the time of a synth; CI synthesizes once with it
	jsii.Close()                         // the kernel that package initialization prepared has the environment from before
	code := m.Run()
	jsii.Close() // the only kernel of this binary
	os.Exit(code)
}

// flags is the context of cdk.json, so that tests see what the CLI synthesizes.
func flags(t *testing.T) map[string]any {
	t.Helper()
	b, err := os.ReadFile("../cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Context map[string]any }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.Context
}

// newStack is a stack of a new app that does not build the function.
func newStack(t *testing.T) awscdk.Stack {
	t.Helper()
	context := flags(t)
	context["aws:cdk:bundling-stacks"] = []string{}
	app := awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: jsii.String(t.TempDir())})
	return awscdk.NewStack(app, jsii.String("test"), nil)
}

// variants are the pipelines whose whole template is checked.
var variants = []string{"ordered", "unordered"}

// pipelines are those that tests only read, by name.
var pipelines = map[string]*pipeline{
	"ordered":                     {},
	"unordered":                   {props: &MarketDataPipelineProps{Suffix: "prod", Delivery: settings.Unordered}},
	"ordered, other thresholds":   {props: &MarketDataPipelineProps{Timeout: 30 * time.Second, Thresholds: otherThresholds}, more: useOutside},
	"unordered, other thresholds": {props: &MarketDataPipelineProps{Timeout: 30 * time.Second, Thresholds: otherThresholds, Suffix: "x-1", Delivery: settings.Unordered}},
	"every prop":                  {props: everyProp},
}

// pipeline is a pipeline in a stack of its own.
type pipeline struct {
	props *MarketDataPipelineProps
	more  func(awscdk.Stack, *MarketDataPipeline) // what is done to the stack before its synthesis; nil = nothing

	*MarketDataPipeline // nil = not built yet
	stack               awscdk.Stack
	json                []byte
}

// synthesized is the pipeline of that name, built and synthesized once a binary.
func synthesized(t *testing.T, name string) *pipeline {
	t.Helper()
	p := pipelines[name]
	if p.MarketDataPipeline == nil {
		stack := newStack(t)
		built := NewMarketDataPipeline(stack, "MarketData", p.props)
		if p.more != nil {
			p.more(stack, built)
		}
		p.json, p.stack, p.MarketDataPipeline = stackJSON(t, stack), stack, built
	}
	return p
}

// template is the pipeline's template, which the caller may change.
func (p *pipeline) template(t *testing.T) template {
	t.Helper()
	return parse(t, p.json)
}

func stackJSON(t *testing.T, stack awscdk.Stack) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(assertions.Template_FromStack(stack, nil).ToJSON()); err != nil {
		t.Fatal(err)
	}
	return assetHash.ReplaceAll(b.Bytes(), []byte("ASSET.zip"))
}

var assetHash = regexp.MustCompile(`[0-9a-f]{64}\.zip`)

// template is a template with short ids ("Queue" for MarketDataQueue52245F80) and readable intrinsics
// ("${Queue.Arn}").
type template map[string]any

var longID = regexp.MustCompile(`MarketData([A-Za-z]+?)[0-9A-F]{8}\b`)

func parse(t *testing.T, b []byte) template {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(longID.ReplaceAll(b, []byte("$1")), &v); err != nil {
		t.Fatal(err)
	}
	return readable(v).(map[string]any)
}

// get follows a path of keys and indexes; nil = there is nothing.
func (t template) get(path ...string) any {
	var v any = map[string]any(t)
	for _, key := range path {
		switch w := v.(type) {
		case map[string]any:
			v = w[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(w) {
				return nil
			}
			v = w[i]
		default:
			return nil
		}
	}
	return v
}

// property is a property of a resource by its short id.
func (t template) property(id string, path ...string) any {
	return t.get(append([]string{"Resources", id, "Properties"}, path...)...)
}

// ofType gives the short ids of the resources of a type, sorted.
func (t template) ofType(types ...string) []string {
	var ids []string
	for id, r := range t["Resources"].(map[string]any) {
		if slices.Contains(types, r.(map[string]any)["Type"].(string)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// policyStatement is one statement of a policy, its texts as lists.
type policyStatement struct {
	Sid, Effect                    string
	Actions, Resources, Principals []string
	Condition                      map[string]any
}

func statementsOf(document any) []policyStatement {
	var out []policyStatement
	d, _ := document.(map[string]any)
	statements, _ := d["Statement"].([]any)
	for _, raw := range statements {
		m := raw.(map[string]any)
		s := policyStatement{Actions: list(m["Action"]), Resources: list(m["Resource"])}
		s.Sid, _ = m["Sid"].(string)
		s.Effect, _ = m["Effect"].(string)
		s.Condition, _ = m["Condition"].(map[string]any)
		if by, ok := m["Principal"].(map[string]any); ok {
			s.Principals = append(list(by["AWS"]), list(by["Service"])...)
		} else {
			s.Principals = list(m["Principal"])
		}
		out = append(out, s)
	}
	return out
}

// when gives the values of a condition.
func (s policyStatement) when(operator, key string) []string {
	keys, _ := s.Condition[operator].(map[string]any)
	return list(keys[key])
}

// list reads a value that IAM allows to be one text or several.
func list(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}

func TestGoldenTemplates(t *testing.T) {
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			got := synthesized(t, variant).json
			file := filepath.Join("testdata", variant+".template.json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs at line %d\n got %s\nwant %s\nLogical ids, names and outputs are a contract with deployed stacks: if the change is meant, run go test ./constructs -run Golden -update and review the diff",
					file, firstDifference(got, want), lineAt(got, want), lineAt(want, got))
			}
		})
	}
}

func firstDifference(a, b []byte) int {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return i + 1
		}
	}
	return min(len(x), len(y)) + 1
}

func lineAt(a, b []byte) string {
	lines := strings.Split(string(a), "\n")
	if i := firstDifference(a, b) - 1; i < len(lines) {
		return strings.TrimSpace(lines[i])
	}
	return "(end)"
}
