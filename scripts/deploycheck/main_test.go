package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/market-data-pipeline/functions/processor/alert"
)

func TestUsage(t *testing.T) {
	environment := func(endpoint string) func(string) string {
		return func(name string) string {
			if name == "AWS_ENDPOINT_URL" {
				return endpoint
			}
			return ""
		}
	}
	const local = "http://127.0.0.1:5000"
	for _, test := range []struct {
		name, args, endpoint string
		code                 int
		want                 string
	}{
		{"help", "--help", "", 0, "Usage"},
		{"no command", "--stack s", local, 2, "give one of"},
		{"unknown command", "--stack s destroy", local, 2, "give one of"},
		{"two commands", "--stack s gone gone", local, 2, "give one of"},
		{"no stack", "gone", local, 2, "--stack is missing"},
		{"no assembly", "--stack s process", local, 2, "--assembly is missing"},
		{"no endpoint would be AWS", "--stack s gone", "", 2, "127.0.0.1"},
		{"AWS", "--stack s gone", "https://sqs.us-east-1.amazonaws.com", 2, "./scripts/integration"},
		{"unknown flag", "--bucket b gone", local, 2, "bucket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), strings.Fields(test.args), environment(test.endpoint), &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.want) {
				t.Errorf("code %d, %q; want %d and %q", code, errs.String(), test.code, test.want)
			}
		})
	}
}

func TestAssembly(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ file, want string }{
		{"other", "template"}, {"s.template.json", "0 assets"}, {"asset.1/bootstrap", ""}, {"asset.2/bootstrap", "2 assets"},
	} {
		write(step.file)
		template, asset, err := assembly(dir, "s")
		switch {
		case step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)):
			t.Errorf("with %s: error %v, want %q", step.file, err, step.want)
		case step.want == "" && (err != nil || string(template) != "{}" || asset != filepath.Join(dir, "asset.1")):
			t.Errorf("with %s: %q, %v", step.file, asset, err)
		}
	}
}

func TestRulesOfTheTestLoad(t *testing.T) {
	source, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := alert.Load("testdata/rules.yaml", source)
	if err != nil {
		t.Fatal(err)
	}
	if w := rules.Warnings(); len(w) > 0 {
		t.Errorf("warnings %v", w)
	}
	for name := range wantByRule {
		if !strings.Contains(string(source), "alert: "+name+"\n") {
			t.Errorf("rule %s is expected to fire, but is not in the file", name)
		}
	}
}
