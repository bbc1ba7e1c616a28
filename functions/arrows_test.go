// Package functions_test guards the arrows between the project's packages.
package functions_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/market-data-pipeline"

// arrows says which packages of the module a package may import. A key that ends in "/" speaks for all packages below
// it that have no key of their own.
var arrows = map[string][]string{
	"":                             {"constructs", "functions/processor/settings"},
	"constructs":                   {"functions/processor/settings", "functions/processor/alert"},
	"functions":                    {},
	"functions/processor":          {"functions/processor/settings", "functions/processor/ingest", "functions/processor/ledger", "functions/processor/notify", "functions/processor/queue", "functions/processor/alert"},
	"functions/processor/settings": {},
	"functions/processor/market":   {},
	"functions/processor/alert":    {"functions/processor/market"},
	"functions/processor/ingest":   {"functions/processor/market", "functions/processor/alert", "functions/processor/settings"},
	"functions/processor/ledger":   {"functions/processor/market", "functions/processor/alert", "functions/processor/settings"},
	"functions/processor/notify":   {"functions/processor/market", "functions/processor/alert", "functions/processor/settings"},
	"functions/processor/queue":    {"functions/processor/market", "functions/processor/alert", "functions/processor/settings"},
	"functions/processor/simulate": {"functions/processor/settings"},
	"functions/producer":           {"functions/processor/market", "functions/processor/settings"},
	"scripts/": {"functions/processor/settings", "functions/processor/market", "functions/processor/alert", "functions/processor/ingest", "functions/processor/ledger",
		"functions/processor/notify", "functions/processor/queue", "functions/processor/simulate", "functions/producer", "scripts/"},
}

// forbidden says what a package must not link, directly or not. Importing the CDK starts a JavaScript kernel; the
// simulated services and the SDK's shared configuration have no place in the function.
var forbidden = map[string][]string{
	"functions/":          {"github.com/aws/aws-cdk-go/", "github.com/aws/jsii-runtime-go"},
	"scripts/":            {"github.com/aws/aws-cdk-go/", "github.com/aws/jsii-runtime-go"},
	"constructs":          {"github.com/aws/aws-sdk-go-v2"},
	"functions":           {},
	"functions/processor": {module + "/functions/processor/simulate", "github.com/aws/aws-sdk-go-v2/config"},
}

// standardOnly names the packages that import nothing but the standard library.
var standardOnly = []string{"functions/processor/settings", "functions/processor/market"}

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

func TestArrows(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	standard := map[string]bool{"C": true}
	var ours []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		standard[p.ImportPath] = p.Standard
		if p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			ours = append(ours, p)
		}
	}
	seen := map[string]bool{}
	for _, p := range ours {
		name := local(p.ImportPath)
		seen[name] = true
		for _, fault := range faults(p, standard) {
			t.Errorf("%s %s", p.ImportPath, fault)
		}
	}
	for name := range arrows {
		if !strings.HasSuffix(name, "/") && !seen[name] {
			t.Errorf("package %q has arrows and does not exist", name)
		}
	}
}

func local(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }

func faults(p pkg, standard map[string]bool) (out []string) {
	name := local(p.ImportPath)
	allowed, ok := arrows[name]
	for prefix, a := range arrows {
		if !ok && strings.HasSuffix(prefix, "/") && strings.HasPrefix(name, prefix) {
			allowed, ok = a, true
		}
	}
	if !ok {
		return []string{"has no place in the arrows: add one, or move it"}
	}
	for _, imported := range p.Imports {
		inModule := imported == module || strings.HasPrefix(imported, module+"/")
		if inModule && !slices.ContainsFunc(allowed, func(a string) bool {
			return local(imported) == a || strings.HasSuffix(a, "/") && strings.HasPrefix(local(imported), a)
		}) {
			out = append(out, "imports "+imported+", which breaks an arrow")
		}
		if slices.Contains(standardOnly, name) && !standard[imported] {
			out = append(out, "imports "+imported+", but may use the standard library only")
		}
	}
	for prefix, banned := range forbidden {
		if name != prefix && (!strings.HasSuffix(prefix, "/") || !strings.HasPrefix(name, prefix)) {
			continue
		}
		for _, dep := range p.Deps {
			if slices.ContainsFunc(banned, func(b string) bool {
				return dep == b || strings.HasPrefix(dep, b+"/") || strings.HasSuffix(b, "/") && strings.HasPrefix(dep, b)
			}) {
				out = append(out, "links "+dep)
			}
		}
	}
	return out
}

// TestArrowsCanFail: each kind of fault is found.
func TestArrowsCanFail(t *testing.T) {
	standard := map[string]bool{"fmt": true}
	for _, p := range []pkg{
		{ImportPath: module + "/elsewhere"},
		{ImportPath: module + "/functions/processor/ledger", Imports: []string{module + "/functions/processor/ingest"}},
		{ImportPath: module + "/functions/processor/market", Imports: []string{"github.com/google/go-cmp/cmp"}},
		{ImportPath: module + "/functions/processor/alert", Deps: []string{"github.com/aws/aws-cdk-go/awscdk/v2"}},
		{ImportPath: module + "/functions/processor", Deps: []string{module + "/functions/processor/simulate"}},
		{ImportPath: module + "/constructs", Deps: []string{"github.com/aws/aws-sdk-go-v2/service/sqs"}},
		{ImportPath: module + "/scripts/local/internal/x", Imports: []string{module + "/constructs"}},
	} {
		if len(faults(p, standard)) == 0 {
			t.Errorf("nothing found in %+v", p)
		}
	}
	if f := faults(pkg{ImportPath: module + "/functions/processor/market", Imports: []string{"fmt"}}, standard); len(f) > 0 {
		t.Errorf("a good package: %v", f)
	}
}
