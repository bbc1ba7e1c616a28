package simulator_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// edit replaces text, which the file has once.
type edit struct{ file, old, new string }

// bugs are mistakes that the simulator must find. Each is planted into the real code by the compiler's overlay.
var bugs = []struct {
	name  string
	edits []edit
}{
	{"an alert that exists is taken for published", []edit{{"ingest/invocation.go", `inv.judge(ctx, p.causes[r.ID], r.Key(), old)`, `_ = old`}}},
	{"acknowledged under a live lease", []edit{{"ingest/invocation.go",
		`inv.give(message, deferred, time.UnixMilli(r.Lease), fmt.Errorf("alert %s is being published by another invocation", key.ID))`, ``}}},
	{"the lease is shorter than the deadline", []edit{{"ingest/ingest.go", `leaseMargin = 5 * time.Second`, `leaseMargin = -59900 * time.Millisecond`}}},
	{"hints are dropped too early", []edit{{"ingest/invocation.go", `func(h alert.Hint) bool { return drop[h.AlertID] }`, `func(h alert.Hint) bool { _, ours := p.causes[h.AlertID]; return !ours }`}}},
	{"a hint that was written is remembered as settled", []edit{{"ingest/facts.go", `f.keep(k, owner)`, `f.keep(k, "")`}}},
	{"hints of a repeated message are not looked at", []edit{{"ingest/invocation.go", `		inv.settleHinted(work, fresh)
`, `		_ = fresh
`}}},
	{"acknowledged although the publish failed", []edit{{"ingest/invocation.go", `			inv.returnFor(ctx, e.message, fmt.Errorf("publishing alert %s: %w", e.record.ID, err))
`, ``}}},
	{"an alert that SNS did not take is marked as sent", []edit{{"notify/sns.go", `			errs[i] = fmt.Errorf("notify: publishing %d alerts: %w", len(batch), err)
`, `			_ = i
`}}},
	{"a repeated message counts twice", []edit{{"ingest/series.go", `if int(e.Index) < from {`, `if from < 0 {`}}},
	{"a message counts as applied before its last prefix", []edit{{"ingest/series.go", `mark = delivered.set(mark, m.id, int(e.Index)+1)`, `mark = delivered.set(mark, m.id, alert.Whole)`}}},
	{"the state is committed without one of its alerts", []edit{{"ledger/dynamodb.go", `	for i := range alerts {
		add(`, `	for i := range alerts[1:] {
		add(`}, {"ledger/dynamodb.go", `len(reasons) != offset+len(alerts)`, `len(reasons) > offset+len(alerts)`}}},
	{"one refused alert fails its neighbours", []edit{{"notify/sns.go", `			for _, i := range batch {
				s.publish(ctx, entries, []int{i}, errs)
			}
`, `			for _, i := range batch {
				errs[i] = &PermanentError{api.ErrorCode(), "SNS refuses the alert"}
			}
`}}},
	{"a refused alert is not kept", []edit{{"ingest/invocation.go", `rejectErr := inv.rejectAlert(end, e, err); rejectErr != nil`, `rejectErr := error(nil); rejectErr != nil`}}},
	{"a refused event is not kept where the queue fails", []edit{{"ingest/outcome.go", `			inv.returnFor(ctx, of[k], fmt.Errorf("keeping a refused event: %w", err))
`, `			_, _ = of, k
`}}},
	{"states are cached", []edit{
		{"ingest/ingest.go", `	environment []byte // as JSON
`, `	environment []byte
	cached      map[string]alert.Snapshot
`},
		{"ingest/ingest.go", `&Handler{cfg: cfg,`, `&Handler{cached: map[string]alert.Snapshot{}, cfg: cfg,`},
		{"ingest/invocation.go", `		snap, ok := states[s.key]
`, `		snap, ok := states[s.key]
		if old, known := inv.cached[s.key]; known && s.losses == 0 {
			snap = old
		}
		inv.cached[s.key] = snap
`}}},
	{"the state is written unconditionally", []edit{{"ledger/dynamodb.go", `attrVersion + " = :read"`, `attrVersion + " >= :read"`}}},
	{"an alert that exists is tried for ever", []edit{{"ledger/dynamodb.go", `			result.Existing = append(result.Existing, verdict.existing...)
			alerts = verdict.left
`, `			_ = d.pause(ctx, n)
`}}},
	{"what follows a returned message of its group goes on", []edit{{"ingest/outcome.go", `return inv.ordered(m) && ok && first < i`, `return inv.ordered(m) && ok && first < i && i < 0`}}},
	{"a lost response of a claim is a lost claim", []edit{
		{"ledger/dynamodb.go", `" < :now OR #owner = :owner)"`, `" < :now)"`},
		{"ledger/dynamodb.go", `		stored = failed.Item
`, `		return alert.Record{}, false, nil
`}}},
	{"a mark that was not written counts as written", []edit{{"ingest/invocation.go", `				inv.returnFor(end, e.message, fmt.Errorf("recording published alerts: %w", err))
`, ``}}},
	{"a state of newer code is taken for an empty one", []edit{{"alert/record.go",
		`return s, fmt.Errorf("snapshot: format %d, this code reads %d: %w", b[0], snapshotFormat, ErrNewer)`, `_ = fmt.Sprint
		return s, nil`}}},
	{"a deferred message fails the invocation", []edit{{"ingest/outcome.go", `if inv.count.recordsFailed > 0 && doneCount == 0 {`, `if doneCount == 0 {`}}},
	{"a clock event too early is repeated for ever", []edit{{"ingest/clock.go", `		reached && ok && next.At <= now && !last.clocked)`, `		reached)`}}},
}

// TestPlantedBugs plants each bug and runs random scenarios until one fails.
func TestPlantedBugs(t *testing.T) {
	long(t)
	if testing.Short() {
		t.Skip("skipped with -short: it builds the simulator once per bug")
	}
	processor, err := filepath.Abs("../../../functions/processor")
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			dir := t.TempDir()
			replace := map[string]string{}
			for _, e := range bug.edits {
				file := filepath.Join(processor, e.file)
				from := file
				if changed, ok := replace[file]; ok {
					from = changed
				}
				source, err := os.ReadFile(from)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(string(source), e.old); n != 1 {
					t.Fatalf("%s has the text to replace %d times, not once:\n%s", e.file, n, e.old)
				}
				replace[file] = filepath.Join(dir, strings.ReplaceAll(e.file, "/", "_"))
				if err := os.WriteFile(replace[file], []byte(strings.Replace(string(source), e.old, e.new, 1)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			overlay, err := json.Marshal(map[string]any{"Replace": replace})
			if err != nil {
				t.Fatal(err)
			}
			config, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "simulator.test")
			if err := os.WriteFile(config, overlay, 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", config, "-o", binary, ".").CombinedOutput(); err != nil {
				t.Fatalf("building: %v\n%s", err, out)
			}
			out, err := exec.CommandContext(t.Context(), binary, "-test.run=^TestSimulate$", "-seeds=10000", "-shrink=false").CombinedOutput()
			found := regexp.MustCompile(`seed \d+: .*`).Find(out)
			if err == nil || found == nil {
				t.Fatalf("not found in 10,000 seeds: %s", out)
			}
			t.Logf("found by %.200s", found)
		})
	}
}
