package main

import (
	"archive/zip"
	"compress/flate"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/benchmark/internal/endpoint"
	"example.com/market-data-pipeline/scripts/benchmark/internal/sample"
)

// coldStart measures what a new execution environment costs, without AWS's own part of it (fetching the code, starting
// the micro VM), which a size makes longer.
func (b *bench) coldStart() error {
	aws, err := b.startEndpoint()
	if err != nil {
		return err
	}
	shipped, err := os.ReadFile(filepath.Join(b.root, "functions/processor", settings.RulesSource))
	if err != nil {
		return err
	}
	all, err := b.ourFunction("ours-shipped-rules", string(shipped), settings.Ordered)
	if err != nil {
		return err
	}
	contenders := []contender{all, {name: "hello-world-Go", command: []string{filepath.Join(b.bin, "hello")}}}
	for _, c := range b.baselines() {
		if c.name != pythonBatched {
			contenders = append(contenders, c)
		}
	}
	rounds := 25
	if b.quick {
		rounds = 5
	}
	type figures struct {
		start, first []sample.Sample
		rss          int64
	}
	found := make([]figures, len(contenders))
	payload := newStream(traffic{messages: 1, perEvent: 1, series: 1}).next()
	for range rounds {
		for i, c := range contenders {
			aws.Reset(endpoint.Latency{})
			f, err := b.launch(aws, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			_, first, err := f.Invoke(payload)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			rss, err := f.MaxRSS()
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			found[i].start = append(found[i].start, sample.Sample{N: 1, Wall: f.Start.Wall, CPU: f.Start.CPU})
			found[i].first = append(found[i].first, sample.Sample{N: 1, Wall: first.Wall, CPU: first.CPU})
			found[i].rss = max(found[i].rss, rss)
		}
	}
	t := &table{Title: fmt.Sprintf("Cold start: exec to the first request of an invocation, %d starts each in turn", rounds),
		Columns: []string{"function", "CPU ms", "(median)", "wall ms", "(median)", "first invocation CPU ms", "wall ms", "max RSS MiB", "CPU to ours"}}
	ours := summarize(found[0].start).minCPU
	for i, f := range found {
		s, first := summarize(f.start), summarize(f.first)
		t.add(contenders[i].name, ms(s.minCPU), ms(s.medCPU), ms(s.minWall), ms(s.medWall), ms(first.minCPU), ms(first.minWall),
			number(float64(f.rss)/(1<<20)), ratio(s.minCPU/ours))
		b.Facts["coldstart/"+contenders[i].name+"/cpu ms"] = s.minCPU / 1e6
		b.Facts["coldstart/"+contenders[i].name+"/rss MiB"] = float64(f.rss) / (1 << 20)
	}
	b.show(t)
	return b.sizes(string(shipped))
}

// sizes measures the asset that is deployed.
func (b *bench) sizes(rules string) error {
	binary := filepath.Join(b.bin, "arm64", "bootstrap")
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	loaded, err := alert.Load(settings.RulesSource, []byte(rules))
	if err != nil {
		return err
	}
	size, err := zipSize(binary, loaded.Encode())
	if err != nil {
		return err
	}
	t := &table{Title: "Size of the arm64 asset, MiB", Columns: []string{"bootstrap", "zip"}}
	t.add(number(float64(info.Size())/(1<<20)), number(float64(size)/(1<<20)))
	b.Facts["coldstart/zip MiB"], b.Facts["coldstart/bootstrap MiB"] = float64(size)/(1<<20), float64(info.Size())/(1<<20)
	b.show(t)
	return nil
}

type byteCount int64

func (n *byteCount) Write(b []byte) (int, error) { *n += byteCount(len(b)); return len(b), nil }

// zipSize is the size of the asset as the CDK's command line packs it: deflate, at its best.
func zipSize(binary string, rules []byte) (int64, error) {
	var n byteCount
	z := zip.NewWriter(&n)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	code, err := os.ReadFile(binary)
	if err != nil {
		return 0, err
	}
	for name, content := range map[string][]byte{"bootstrap": code, settings.DefaultRulesFile: rules} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Unix(0, 0)})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			return 0, err
		}
	}
	err = z.Close()
	return int64(n), err
}
