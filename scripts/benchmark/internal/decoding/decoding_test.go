package decoding

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

const two = `[{"symbol":"A","source":"s","price":"1.5","size":"2","timestamp":"2026-11-20T14:30:00Z","sequence":7},{"symbol":"B","price":3,"timestamp":"2026-11-20T14:30:00.5Z"}]`

func TestWork(t *testing.T) {
	dir := t.TempDir()
	for name, input := range map[string]string{
		"two": two, "one more": `{"symbol":"B","price":3,"timestamp":"2026-11-20T14:30:00.5Z"}`, "bad": `{`,
		"batch": `{"Records":[{"messageId":"m","body":` + quoted(two) + `}]}`,
	} {
		if err := os.WriteFile(Path(dir, name), []byte(input), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	orders := `{"Case":"two","Form":"packed","N":0}
{"Case":"batch","Form":"lambda","N":0}
{"Case":"one more","Form":"single","N":0}
{"Case":"two","Form":"packed","N":100}
{"Case":"bad","Form":"single","N":1}
`
	var out bytes.Buffer
	p := &Peer[json.Number]{Unmarshal: json.Unmarshal}
	if err := Work(p, dir, strings.NewReader(orders), &out); err != nil {
		t.Fatal(err)
	}
	var answers []Answer
	for d := json.NewDecoder(&out); d.More(); {
		var a Answer
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != 5 {
		t.Fatalf("%d answers", len(answers))
	}
	var want, one Sum
	want.Add("A", "s", 1_500_000_000, 2_000_000_000, 1_795_185_000_000_000_000, 7)
	for _, s := range []*Sum{&want, &one} {
		s.Add("B", "", 3_000_000_000, 0, 1_795_185_000_500_000_000, 0)
	}
	for i, s := range []Sum{want, want, one} {
		if answers[i].Checksum != s.Value || answers[i].Error != "" {
			t.Errorf("answer %d: %+v, want %08x", i, answers[i], s.Value)
		}
	}
	if answers[0].Events != 2 || answers[2].Events != 1 {
		t.Errorf("events of %+v", answers)
	}
	if a := answers[3]; a.Wall <= 0 || a.Allocs < 100 || a.Error != "" {
		t.Errorf("measured: %+v", a)
	}
	if answers[4].Error == "" {
		t.Error("bad JSON is no error")
	}
}

// A field that the second event lacks is not the first one's.
func TestReusedStructsAreEmpty(t *testing.T) {
	p := &Peer[json.Number]{Unmarshal: json.Unmarshal}
	full, short := &Case{Form: Packed, Input: []byte(two)}, &Case{Form: Packed, Input: []byte(`[{"symbol":"B","price":3,"timestamp":"2026-11-20T14:30:00Z"}]`)}
	sum := func(p *Peer[json.Number]) uint32 {
		if err := p.Decode(short); err != nil {
			t.Fatal(err)
		}
		s, err := p.Checksum()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := p.Decode(full); err != nil {
		t.Fatal(err)
	}
	if got, want := sum(p), sum(&Peer[json.Number]{Unmarshal: json.Unmarshal}); got != want {
		t.Errorf("%08x after another input, %08x alone", got, want)
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a text
	return string(b)
}
