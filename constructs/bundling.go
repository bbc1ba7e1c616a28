package constructs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	golambda "github.com/aws/aws-cdk-go/awscdklambdagoalpha/v2"
	"github.com/aws/jsii-runtime-go"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// locate fills in Entry and RulesFile, absolute, and compiles the rules: what loads with a warning is returned.
func (p *MarketDataPipelineProps) locate() (compiled []byte, warnings []alert.Problem, err error) {
	if p.Entry == "" {
		_, self, _, _ := runtime.Caller(0)
		if p.Entry, err = entryBeside(self); err != nil {
			return nil, nil, err
		}
	}
	orDefault(&p.RulesFile, filepath.Join(p.Entry, settings.RulesSource))
	for _, path := range []*string{&p.Entry, &p.RulesFile} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", *path, err)
		}
		*path = abs
	}
	if info, err := os.Stat(p.Entry); err != nil || !info.IsDir() {
		return nil, nil, fmt.Errorf("no folder at Entry %q: give the folder of the function's main package", p.Entry)
	}
	rules, err := loadRules(p.RulesFile)
	if err != nil {
		return nil, nil, err
	}
	if err := rules.Fits(alert.Options{Lateness: p.Lateness}); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.RulesFile, err)
	}
	warnings = rules.Warnings()
	if p.DisableClock && rules.Timed() {
		warnings = append(warnings, alert.Problem{File: p.RulesFile, Warning: true,
			Text: "rules wait for time (a \"for\", a silence, quotes, bars from trades) and DisableClock is set: on a quiet series they wait for its next event"})
	}
	return rules.Encode(), warnings, nil
}

// entryBeside finds the function's source from this package's own file, as the compiler names it.
func entryBeside(self string) (string, error) {
	entry := filepath.Join(filepath.Dir(self), "..", "functions", "processor")
	if _, err := os.Stat(filepath.Join(entry, "main.go")); !filepath.IsAbs(self) || err != nil {
		return "", fmt.Errorf("the function's source is not at %q: this program was built with -trimpath, or the module is vendored; set Entry to the folder functions/processor of a checkout of the module", entry)
	}
	return entry, nil
}

func loadRules(file string) (*alert.Rules, error) {
	src, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("RulesFile is %q: there is no such file; write one or leave RulesFile empty for the rules that ship", file)
	}
	if err != nil {
		return nil, fmt.Errorf("RulesFile: %w", err)
	}
	return alert.Load(file, src)
}

// bundling builds the same bytes from the same source everywhere, so that an unchanged function is not deployed anew.
func bundling(rules []byte) *golambda.BundlingOptions {
	return &golambda.BundlingOptions{
		GoBuildFlags: jsii.Strings(
			"-trimpath",       // no paths of this machine
			"-buildvcs=false", // no commit: it would change the asset without changing the code
			// provided.al2023 speaks the Runtime API, so net/rpc is left out; rules come compiled, so the parsers of rules
			// files are, which would be a third of the binary and a quarter of its start.
			"-tags=lambda.norpc,compiledrules",
			`-ldflags="-s -w -buildid="`, // no symbols, no link-time id
		),
		Environment: &map[string]*string{
			"GOFLAGS": jsii.String("-mod=readonly"), // not what this shell has set; go.mod and go.sum decide
			"GOWORK":  jsii.String("off"),           // nor a workspace around it
			// What is bundled with equal commands and environments the CDK bundles once in an app: rules that differ must show.
			"RULES_DIGEST": jsii.String(fmt.Sprintf("%x", sha256.Sum256(rules))),
		},
		CommandHooks: &packRules{rules},
	}
}

// packRules puts the compiled rules beside the binary. jsii calls it through pointer methods only.
type packRules struct{ compiled []byte }

var _ golambda.ICommandHooks = (*packRules)(nil)

// BeforeBundling does nothing.
func (*packRules) BeforeBundling(_, _ *string) *[]*string { return &[]*string{} }

// AfterBundling writes the rules into the asset's folder, readable by Lambda's user whatever this process's umask is. The
// CDK asks for its commands twice: for this machine, and, in vain, for a container, where that folder is another.
func (r *packRules) AfterBundling(_, outputDir *string) *[]*string {
	target := filepath.Join(*outputDir, settings.DefaultRulesFile)
	err := os.WriteFile(target, r.compiled, 0o644)
	if err == nil {
		err = os.Chmod(target, 0o644)
	}
	if err != nil {
		return jsii.Strings("echo "+shellQuote("The compiled rules cannot be packed: "+err.Error())+" >&2", "false")
	}
	return &[]*string{}
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
