// Package function runs a Lambda function's program against a stand-in of Lambda's Runtime API, and measures it from
// outside: CPU time by the kernel's clock of its process, memory by /proc. It needs Linux.
package function

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Function is one running process. Its methods are called by one goroutine.
type Function struct {
	Start Times // from exec to its first request of an invocation

	process *exec.Cmd
	server  *http.Server
	exited  chan error
	idle    chan Times // when it asks for the next invocation
	work    chan []byte
	done    chan answer
	stdout  counter
	stderr  bytes.Buffer
	begun   time.Time
	started chan struct{} // closed when process has its process id, which can be after its first request
	n       int
}

// Times are wall and CPU time; CPU is user and system time of the whole process.
type Times struct{ Wall, CPU time.Duration }

type answer struct {
	payload []byte
	failed  bool
	at      time.Time
}

// counter counts what is written: what the function logs is billed by bytes.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(b []byte) (int, error) { c.n.Add(int64(len(b))); return len(b), nil }

const prefix = "/2018-06-01/runtime/"

// patience is how long a function may take for anything.
const patience = 5 * time.Minute

// Launch starts command in dir with env and nothing else, and waits until it asks for its first invocation.
func Launch(dir string, env []string, command ...string) (*Function, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtime API: %w", err)
	}
	f := &Function{exited: make(chan error, 1), started: make(chan struct{}), idle: make(chan Times, 1), work: make(chan []byte), done: make(chan answer, 1)}
	f.server = &http.Server{Handler: f.routes()}
	go func() { _ = f.server.Serve(listener) }() // ends by Close
	f.process = exec.Command(command[0], command[1:]...)
	f.process.Dir, f.process.Env = dir, append(env, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	f.process.Stdout, f.process.Stderr = &f.stdout, &f.stderr
	f.begun = time.Now()
	if err := f.process.Start(); err != nil {
		_ = f.server.Close()
		return nil, err
	}
	close(f.started)
	go func() { f.exited <- f.process.Wait() }()
	if f.Start, err = await(f, f.idle); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// await waits for the process to do something, or to end.
func await[T any](f *Function, c <-chan T) (v T, err error) {
	select {
	case v = <-c:
		return v, nil
	case err := <-f.exited:
		f.exited <- err
		return v, fmt.Errorf("%s has ended (%v): %s", f.process.Path, err, strings.TrimSpace(f.stderr.String()))
	case <-time.After(patience):
		return v, fmt.Errorf("%s has done nothing for %s", f.process.Path, patience)
	}
}

func (f *Function) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"invocation/next", func(w http.ResponseWriter, r *http.Request) {
		asked := time.Now()
		<-f.started
		f.idle <- Times{asked.Sub(f.begun), f.cpu()}
		select {
		case payload := <-f.work:
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Lambda-Runtime-Aws-Request-Id", strconv.Itoa(f.n))
			h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(patience).UnixMilli(), 10))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:benchmark")
			_, _ = w.Write(payload) // if the process is gone, await learns of it
		case <-r.Context().Done():
		}
	})
	finish := func(failed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			at := time.Now()
			w.WriteHeader(http.StatusAccepted)
			f.done <- answer{body, failed, at}
		}
	}
	mux.HandleFunc("POST "+prefix+"invocation/{id}/response", finish(false))
	mux.HandleFunc("POST "+prefix+"invocation/{id}/error", finish(true))
	return mux
}

// Invoke runs one invocation: wall time from handing out the event to the answer's last byte, CPU time until the function
// waits again.
func (f *Function) Invoke(payload []byte) (response []byte, t Times, err error) {
	f.n++
	before, start := f.cpu(), time.Now()
	select {
	case f.work <- payload:
	case err := <-f.exited:
		f.exited <- err
		return nil, t, fmt.Errorf("%s has ended (%v): %s", f.process.Path, err, strings.TrimSpace(f.stderr.String()))
	}
	a, err := await(f, f.done)
	if err != nil {
		return nil, t, err
	}
	if a.failed {
		return nil, t, fmt.Errorf("the invocation failed: %s", a.payload)
	}
	idle, err := await(f, f.idle)
	return a.payload, Times{a.at.Sub(start), idle.CPU - before}, err
}

// cpu reads the clock that the kernel keeps for a process: see clock_getcpuclockid(3), whose formula this is.
func (f *Function) cpu() time.Duration {
	const scheduler = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^f.process.Process.Pid<<3|scheduler), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Logged is how many bytes it has written to its standard output.
func (f *Function) Logged() int64 { return f.stdout.n.Load() }

// Stderr is what it has written to its standard error, once it is closed.
func (f *Function) Stderr() string { return f.stderr.String() }

// MaxRSS is the most memory that it has had resident, in bytes.
func (f *Function) MaxRSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc tells no VmHWM")
}

// Close ends the process. It may be called again.
func (f *Function) Close() error {
	_ = f.process.Process.Kill() // it may have ended
	f.exited <- <-f.exited
	return f.server.Close()
}
