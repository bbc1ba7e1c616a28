package constructs

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// otherMain is the app of somebody who has this module as a dependency.
const otherMain = `package main

import (
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	pipeline "example.com/market-data-pipeline/constructs"
)

func main() {
	defer jsii.Close()
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(os.Args[1])})
	stack := awscdk.NewStack(app, jsii.String("theirs"), nil)
	pipeline.NewMarketDataPipeline(stack, "MarketData", &pipeline.MarketDataPipelineProps{RulesFile: os.Args[2]})
	app.Synth(nil)
}
`

// TestOtherModule synthesizes from another module, in its own folder and without cdk.json, and really builds the
// function: it fails if the source is found only from this checkout, or if the asset lacks anything. It lasts as long as
// all others together, so it is in the file that comes first.
func TestOtherModule(t *testing.T) {
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write("main.go", otherMain)
	write("go.mod", "module other.example/app\n\ngo 1.26\n\nrequire example.com/market-data-pipeline v0.0.0\n\nreplace example.com/market-data-pipeline => "+checkout+"\n")
	write("go.sum", string(read(filepath.Join(checkout, "go.sum"))))
	const text = "rules:\n  - alert: Theirs\n    expr: size > 1000\n    cooldown: 1m\n"
	rules := write("it's $HOME/their rules.yaml", text)
	before := read(filepath.Join(checkout, "go.mod"))

	out := filepath.Join(folder, "cdk.out")
	// In the background while the other tests use this process's kernel. Not go run, which would keep the program, a
	// hundred MB, in the build cache.
	done := make(chan error, 1)
	go func() {
		run := func(name string, args ...string) error {
			cmd := exec.Command(name, args...)
			cmd.Dir = folder
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off", "CDK_VALIDATION=false")
			log, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%s: %w\n%s", cmd, err, log)
			}
			return err
		}
		err := run("go", "build", "-ldflags=-s -w", "-o", "theirs", ".")
		if err == nil {
			err = run(filepath.Join(folder, "theirs"), out, rules)
		}
		done <- err
	}()
	t.Parallel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, read(filepath.Join(checkout, "go.mod"))) {
		t.Error("building the function under GOFLAGS=-mod=mod changed this module's go.mod")
	}

	tpl := parse(t, read(filepath.Join(out, "theirs.template.json")))
	for name, errs := range runChecks(tpl) {
		t.Errorf("%s: %v", name, errs)
	}
	assets, err := filepath.Glob(filepath.Join(out, "asset.*"))
	if err != nil || len(assets) != 1 {
		t.Fatalf("assets %v, %v, want one", assets, err)
	}
	packed := filepath.Join(assets[0], settings.DefaultRulesFile)
	theirs, err := alert.Load(rules, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(packed); !bytes.Equal(got, theirs.Encode()) {
		t.Errorf("the asset's rules are %q, want those of %q, compiled", got, text)
	}
	if info, err := os.Stat(packed); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the asset's rules have mode %v, %v: Lambda's user must read them", info.Mode(), err)
	}
	entries, err := os.ReadDir(assets[0])
	if err != nil || len(entries) != 2 {
		t.Errorf("the asset has %v, %v, want bootstrap and %s", entries, err, settings.DefaultRulesFile)
	}
	// As the CDK's command line packs it.
	var packedSize bytes.Buffer
	z := zip.NewWriter(&packedSize)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	if err := errors.Join(z.AddFS(os.DirFS(assets[0])), z.Close()); err != nil {
		t.Fatal(err)
	}
	if n := packedSize.Len(); n > 4<<20 {
		t.Errorf("the asset packed takes %d bytes, more than 4 MiB: what is linked that was not?", n)
	}
	binary, err := elf.Open(filepath.Join(assets[0], "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if binary.Machine != elf.EM_AARCH64 || binary.Class != elf.ELFCLASS64 {
		t.Errorf("bootstrap is for %v %v, want a 64-bit AArch64 binary", binary.Machine, binary.Class)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("bootstrap is linked dynamically: provided.al2023 may lack the libraries")
		}
	}
	if binary.Section(".symtab") != nil {
		t.Error("bootstrap has symbols")
	}
	if image := read(filepath.Join(assets[0], "bootstrap")); bytes.Contains(image, []byte(checkout+"/")) {
		t.Error("bootstrap names this machine's folders: the asset is not reproducible")
	}
}

func TestFeatureFlagsAreCurrent(t *testing.T) {
	b, err := os.ReadFile("../node_modules/aws-cdk/lib/init-templates/.recommended-feature-flags.json")
	if err != nil {
		t.Skipf("the CDK CLI is not installed (npm ci): %v", err)
	}
	var want map[string]any
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	// What it collects is for the usage report, which versionReporting turns off, and takes 5 % of a synth.
	want["@aws-cdk/core:enableAdditionalMetadataCollection"] = false
	var e problems
	e.equal("context of cdk.json", flags(t), want)
	for _, err := range e {
		t.Error(err)
	}
}
