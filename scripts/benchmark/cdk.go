package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// cdk measures the app and the tests of the construct, each in turn, the Go build cache and jsii's package cache warm.
func (b *bench) cdk() error {
	app := filepath.Join(b.bin, "app")
	if _, err := os.Stat(app); err != nil {
		b.missing("the CDK: no node here, or scripts/bench was not asked to build the app")
		return nil
	}
	env, err := b.synthEnv(nil)
	if err != nil {
		return err
	}
	unbundled, err := b.synthEnv(map[string]any{"aws:cdk:bundling-stacks": []string{}})
	if err != nil {
		return err
	}
	test := func(name, folder string) command {
		return command{args: []string{filepath.Join(b.bin, name)}, folder: filepath.Join(b.root, folder)}
	}
	type work struct {
		name     string
		commands []command // run at once
	}
	works := []work{
		{"synth", []command{{[]string{app}, b.root, unbundled}}},
		{"synth, bundled", []command{{[]string{app}, b.root, env}}},
		{"go run, as cdk.json does", []command{{[]string{"go", "run", "."}, b.root, unbundled}}},
		{"tests of constructs and app", []command{test("constructs.test", "constructs"), test("app.test", ".")}},
	}
	if cli := filepath.Join(b.root, "node_modules", ".bin", "cdk"); exec.Command(cli, "--version").Run() == nil {
		args := []string{cli, "synth", "--quiet", "--no-notices", "--output", filepath.Join(b.work, "cdk.out")}
		works = append(works, work{"cdk synth, bundled", []command{{args, b.root, []string{"CDK_VALIDATION=false"}}}})
	} else {
		b.missing("the CDK's command line: npm ci installs it")
	}
	rounds := 8
	if b.quick {
		rounds = 1
	}
	walls, cpus := make([][]float64, len(works)), make([][]float64, len(works))
	for round := range rounds + 1 {
		for i, w := range works {
			if err := os.RemoveAll(filepath.Join(b.work, "cdk.out")); err != nil { // or the bundle would be found there
				return err
			}
			wall, cpu, err := runTogether(w.commands)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if round > 0 { // the first one fills caches
				walls[i], cpus[i] = append(walls[i], float64(wall)), append(cpus[i], float64(cpu))
			}
		}
	}
	t := &table{Title: fmt.Sprintf("CDK: CloudFormation's validation off, %d runs each in turn, caches warm", rounds),
		Columns: []string{"what", "wall ms", "CPU ms"},
		Notes:   []string{"CPU ms are those of all processes: Go, the go command, two of Node for each kernel of jsii."}}
	for i, w := range works {
		wall, cpu := slices.Min(walls[i]), slices.Min(cpus[i])
		t.add(w.name, ms(wall), ms(cpu))
		b.Facts["cdk/"+w.name+"/wall ms"], b.Facts["cdk/"+w.name+"/cpu ms"] = wall/1e6, cpu/1e6
	}
	b.show(t)
	return nil
}

// synthEnv is what the CDK's command line gives an app: the context of cdk.json, and more of it, and a folder to write to.
func (b *bench) synthEnv(more map[string]any) ([]string, error) {
	source, err := os.ReadFile(filepath.Join(b.root, "cdk.json"))
	if err != nil {
		return nil, err
	}
	var file struct{ Context map[string]any }
	if err := json.Unmarshal(source, &file); err != nil {
		return nil, fmt.Errorf("cdk.json: %w", err)
	}
	maps.Copy(file.Context, more)
	context, err := json.Marshal(file.Context)
	if err != nil {
		return nil, err
	}
	return []string{"CDK_VALIDATION=false", "CDK_CONTEXT_JSON=" + string(context), "CDK_OUTDIR=" + filepath.Join(b.work, "cdk.out")}, nil
}

// command is one process, env in addition to this one's.
type command struct {
	args   []string
	folder string
	env    []string
}

// runTogether runs commands at once. CPU is that of the processes they waited for, too.
func runTogether(commands []command) (wall, cpu time.Duration, err error) {
	type result struct {
		cpu time.Duration
		err error
	}
	results := make(chan result, len(commands))
	start := time.Now()
	for _, c := range commands {
		go func() {
			cmd := exec.Command(c.args[0], c.args[1:]...)
			cmd.Dir, cmd.Env = c.folder, append(os.Environ(), c.env...)
			log, err := cmd.CombinedOutput()
			if err != nil {
				results <- result{err: fmt.Errorf("%s: %w\n%s", cmd, err, log)}
				return
			}
			results <- result{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
		}()
	}
	for range commands {
		r := <-results
		cpu += r.cpu
		if err == nil {
			err = r.err
		}
	}
	return time.Since(start), cpu, err
}
