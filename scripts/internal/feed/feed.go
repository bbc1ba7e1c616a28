// Package feed reads recorded market data for the scripts: newline-delimited text from files and standard input,
// compressed or not, line by line and with the place of every line.
package feed

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync/atomic"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// MaxLine is the longest line, in bytes, that is handed over whole: the size of the largest SQS message. A longer
// line is cut to MaxLine+1 bytes, so that whoever decodes it refuses it as too large instead of the reader stopping.
const MaxLine = 1 << 20

// Line is one line that is not blank.
type Line struct {
	File   string // as named by the caller, "stdin" for standard input
	Number int    // from 1, blank lines counted
	Text   string // without its line end
}

// Place is "file:number".
func (l Line) Place() string { return fmt.Sprintf("%s:%d", l.File, l.Number) }

// Reader reads several inputs one after the other. It is not safe for concurrent use, but for Offset.
type Reader struct {
	paths []string
	stdin io.Reader
	size  int64

	offset atomic.Int64
	file   io.Closer // open input, nil = none or standard input
	lines  *bufio.Reader
	at     Line
}

// Open prepares paths for reading, in order; Stdin may be one of them, once. Its error names every path that cannot
// be read. The inputs themselves are opened when their turn comes. What begins like gzip is decompressed, whatever its
// name.
func Open(paths []string, stdin io.Reader) (*Reader, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("no input: name a file, or %s for standard input", Stdin)
	}
	r := &Reader{paths: paths, stdin: stdin}
	var errs []error
	seen := false
	for _, path := range paths {
		if path == Stdin {
			if seen {
				errs = append(errs, fmt.Errorf("%s is named twice: standard input can be read once", Stdin))
			}
			seen, r.size = true, -1
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case info.IsDir():
			errs = append(errs, fmt.Errorf("%s is a folder: name the files in it", path))
		case !info.Mode().IsRegular():
			r.size = -1 // a pipe or a device: readable, of unknown size
		case r.size >= 0:
			r.size += info.Size()
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Size is the total number of bytes of the inputs as stored (compressed), -1 where that cannot be known.
func (r *Reader) Size() int64 { return r.size }

// Offset is how many of those bytes have been read. It may be called from any goroutine.
func (r *Reader) Offset() int64 { return r.offset.Load() }

// Next returns the next line that is not blank, io.EOF after the last. Any other error names the file and the last
// line that was read, and ends the reading.
func (r *Reader) Next() (Line, error) {
	for {
		if r.lines == nil {
			if len(r.paths) == 0 {
				return Line{}, io.EOF
			}
			if err := r.open(r.paths[0]); err != nil {
				return Line{}, err
			}
			r.paths = r.paths[1:]
		}
		text, err := r.line()
		if err == io.EOF {
			if err := r.Close(); err != nil {
				return Line{}, fmt.Errorf("close %s: %w", r.at.File, err)
			}
			continue
		}
		if err != nil {
			return Line{}, fmt.Errorf("read %s after line %d: %w", r.at.File, r.at.Number, err)
		}
		r.at.Number++
		if strings.TrimSpace(text) != "" {
			r.at.Text = text
			return r.at, nil
		}
	}
}

// Close closes the input that is being read, if any.
func (r *Reader) Close() error {
	file := r.file
	r.file, r.lines = nil, nil
	if file == nil {
		return nil
	}
	return file.Close()
}

func (r *Reader) open(path string) error {
	in, name := r.stdin, "stdin"
	if path != Stdin {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		in, name, r.file = file, path, file
	}
	r.at = Line{File: name}
	const buffer = 256 << 10
	r.lines = bufio.NewReaderSize(counted{in, &r.offset}, buffer)
	if magic, _ := r.lines.Peek(2); string(magic) == "\x1f\x8b" {
		unzipped, err := gzip.NewReader(r.lines)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		r.lines = bufio.NewReaderSize(unzipped, buffer)
	}
	return nil
}

// line reads one line without its end; of one that is longer than MaxLine it keeps MaxLine+1 bytes.
func (r *Reader) line() (string, error) {
	var long []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		if err == nil && long == nil {
			return strings.TrimSuffix(string(part[:len(part)-1]), "\r"), nil
		}
		long = append(long, part[:min(len(part), MaxLine+3-len(long))]...) // 3: one byte too many and a line end
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && (err != io.EOF || len(long) == 0):
			return "", err
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(long), "\n"), "\r")
		return text[:min(len(text), MaxLine+1)], nil
	}
}

// counted adds what is read to n.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// Source is what Each reads: a Reader, or what behaves like one.
type Source interface {
	Next() (Line, error)
	Close() error
}

// Each yields the lines of in until its end, the end of ctx, or an error, which comes as the last pair. It closes in.
// Reading standard input cannot be interrupted, so it goes on in a goroutine of its own and does not hold up ctx.
func Each(ctx context.Context, in Source) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		type read struct {
			line Line
			err  error
		}
		lines := make(chan read, 256)
		reading, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			defer in.Close() // opened for reading: nothing can be lost
			for {
				l, err := in.Next()
				select {
				case lines <- read{l, err}:
				case <-reading.Done():
					return
				}
				if err != nil {
					return
				}
			}
		}()
		for {
			select {
			case r := <-lines:
				if r.err == io.EOF || !yield(r.line, r.err) || r.err != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
