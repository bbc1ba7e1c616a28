package feed_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/market-data-pipeline/scripts/internal/feed"
)

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns "place text" of all lines and the error that ended the reading, nil for io.EOF.
func read(r *feed.Reader) ([]string, error) {
	var got []string
	for {
		l, err := r.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, l.Place()+" "+l.Text)
	}
}

func TestLinesOfOneInput(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     []string
	}{
		{"empty", "", nil},
		{"only blank lines", "\n \n\t\r\n", nil},
		{"one line", "a\n", []string{"stdin:1 a"}},
		{"no end at the end", "a\nb", []string{"stdin:1 a", "stdin:2 b"}},
		{"blank lines are counted", "a\n\n \nb\n", []string{"stdin:1 a", "stdin:4 b"}},
		{"CRLF", "a\r\nb\r\n", []string{"stdin:1 a", "stdin:2 b"}},
		{"CR before the end of the input", "a\r", []string{"stdin:1 a"}},
		{"spaces are kept", " a \n", []string{"stdin:1  a "}},
		{"one byte", "a", []string{"stdin:1 a"}},
	} {
		for _, packed := range []bool{false, true} {
			in := []byte(test.in)
			if packed {
				in = zipped(t, test.in)
			}
			r, err := feed.Open([]string{feed.Stdin}, bytes.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := read(r); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%s, gzip %t: got %q, %v; want %q", test.name, packed, got, err, test.want)
			}
		}
	}
}

func TestLongLines(t *testing.T) {
	for _, test := range []struct{ length, want int }{
		{300 << 10, 300 << 10}, // beyond the read buffer
		{feed.MaxLine - 1, feed.MaxLine - 1},
		{feed.MaxLine, feed.MaxLine},
		{feed.MaxLine + 1, feed.MaxLine + 1},
		{feed.MaxLine + 2, feed.MaxLine + 1},
		{5 * feed.MaxLine, feed.MaxLine + 1},
	} {
		for _, end := range []string{"\n", "\r\n"} {
			in := strings.Repeat("x", test.length) + end + "next" + end
			r, err := feed.Open([]string{feed.Stdin}, strings.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			first, err := r.Next()
			if err != nil || len(first.Text) != test.want || strings.Trim(first.Text, "x") != "" {
				t.Errorf("length %d, end %q: got %d bytes, %v; want %d", test.length, end, len(first.Text), err, test.want)
			}
			if second, err := r.Next(); err != nil || second.Text != "next" || second.Number != 2 {
				t.Errorf("length %d, end %q: the line after it is %q, %d, %v", test.length, end, second.Text, second.Number, err)
			}
		}
	}
}

// TestALongLineIsNotShortened: a carriage return where the line is cut is part of it, not its end.
func TestALongLineIsNotShortened(t *testing.T) {
	for _, length := range []int{feed.MaxLine - 1, feed.MaxLine, feed.MaxLine + 1} {
		r, err := feed.Open([]string{feed.Stdin}, strings.NewReader(strings.Repeat("x", length)+"\rmore\n"))
		if err != nil {
			t.Fatal(err)
		}
		if l, err := r.Next(); err != nil || len(l.Text) != feed.MaxLine+1 {
			t.Errorf("%d bytes, a carriage return and more: %d bytes, %v; want %d", length, len(l.Text), err, feed.MaxLine+1)
		}
	}
}

func TestSeveralInputs(t *testing.T) {
	plain := write(t, "a.ndjson", []byte("1\n2\n"))
	packed := write(t, "b.ndjson.gz", zipped(t, "3\n"))
	misnamed := write(t, "c.gz", []byte("4\n")) // plain text, whatever its name says
	r, err := feed.Open([]string{plain, packed, feed.Stdin, misnamed}, strings.NewReader("in\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{plain + ":1 1", plain + ":2 2", packed + ":1 3", "stdin:1 in", misnamed + ":1 4"}
	if got, err := read(r); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if r.Size() != -1 {
		t.Errorf("size %d with standard input among the inputs, want -1", r.Size())
	}
}

func TestSizeAndOffset(t *testing.T) {
	packed := zipped(t, strings.Repeat("line\n", 1000))
	a, b := write(t, "a.gz", packed), write(t, "b", []byte("1\n"))
	r, err := feed.Open([]string{a, b}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(len(packed) + 2); r.Size() != want || r.Offset() != 0 {
		t.Fatalf("size %d, offset %d; want %d, 0", r.Size(), r.Offset(), want)
	}
	if _, err := read(r); err != nil {
		t.Fatal(err)
	}
	if r.Offset() != r.Size() {
		t.Errorf("offset %d at the end, want the size %d", r.Offset(), r.Size())
	}
}

func TestUnreadable(t *testing.T) {
	whole := zipped(t, "1\n2\n")
	for _, test := range []struct {
		name  string
		paths []string
		open  []string // parts of Open's error; nil = it succeeds
		read  string   // part of Next's error
	}{
		{name: "nothing named", open: []string{"no input"}},
		{name: "all at once", paths: []string{"absent-1", "absent-2", t.TempDir(), "-", "-"}, open: []string{"absent-1", "absent-2", "is a folder", "twice"}},
		{name: "cut gzip", paths: []string{write(t, "cut.gz", whole[:len(whole)-9])}, read: "cut.gz after line"},
		{name: "broken gzip header", paths: []string{write(t, "bad.gz", []byte("\x1f\x8bxxxxxxxxxxxx"))}, read: "bad.gz"},
	} {
		r, err := feed.Open(test.paths, strings.NewReader(""))
		for _, part := range test.open {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: Open says %v, want %q in it", test.name, err, part)
			}
		}
		if test.open != nil {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if _, err := read(r); err == nil || !strings.Contains(err.Error(), test.read) {
			t.Errorf("%s: Next says %v, want %q in it", test.name, err, test.read)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
