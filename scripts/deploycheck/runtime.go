package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// environment is one execution environment: a process of the function, and the Lambda Runtime API that it asks for its
// work. It runs one invocation at a time.
type environment struct {
	functionARN string
	timeout     time.Duration

	server  *http.Server
	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended
	output  *tail

	work chan *invocation

	mu      sync.Mutex
	current map[string]*invocation // handed out, by request id
	initErr string
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	done     chan result // buffered
}

type result struct {
	payload []byte
	err     error
}

// newEnvironment serves the Runtime API; start starts the process.
func newEnvironment(functionARN string, timeout time.Duration) *environment {
	return &environment{
		functionARN: functionARN, timeout: timeout, exited: make(chan struct{}), output: &tail{},
		work: make(chan *invocation), current: map[string]*invocation{},
	}
}

const runtimePrefix = "/2018-06-01/runtime/"

func (e *environment) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+runtimePrefix+"invocation/next", e.next)
	mux.HandleFunc("POST "+runtimePrefix+"invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		e.finish(w, r, func(body []byte) result { return result{payload: body} })
	})
	mux.HandleFunc("POST "+runtimePrefix+"invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		e.finish(w, r, func(body []byte) result { return result{err: fmt.Errorf("the function failed: %s", body)} })
	})
	mux.HandleFunc("POST "+runtimePrefix+"init/error", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.initErr = string(body)
		e.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// next hands out an invocation once there is one.
func (e *environment) next(w http.ResponseWriter, r *http.Request) {
	select {
	case inv := <-e.work:
		e.mu.Lock()
		e.current[inv.id] = inv
		e.mu.Unlock()
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", e.functionARN)
		_, _ = w.Write(inv.payload) // if the process is gone, invoke learns of it
	case <-r.Context().Done():
	}
}

func (e *environment) finish(w http.ResponseWriter, r *http.Request, of func(body []byte) result) {
	body, err := io.ReadAll(r.Body)
	id := r.PathValue("id")
	e.mu.Lock()
	inv := e.current[id]
	delete(e.current, id)
	e.mu.Unlock()
	if inv == nil || err != nil {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	inv.done <- of(body)
}

// start listens on loopback and starts command with env, as Lambda does: nothing of this program's environment.
func (e *environment) start(ctx context.Context, command []string, dir string, env []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("runtime API: %w", err)
	}
	e.server = &http.Server{Handler: e.routes()}
	go func() { _ = e.server.Serve(listener) }() // ends by Close

	e.process = exec.CommandContext(ctx, command[0], command[1:]...)
	e.process.Dir = dir
	e.process.Env = append(env, "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	e.process.Stdout, e.process.Stderr = e.output, e.output
	if err := e.process.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", strings.Join(command, " "), err), e.server.Close())
	}
	go func() {
		_ = e.process.Wait() // how it ended is said by what it wrote
		close(e.exited)
	}()
	return nil
}

// invoke runs one invocation to its end, at most for the function's timeout.
func (e *environment) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	inv := &invocation{id: hex.EncodeToString(id[:]), payload: payload, deadline: time.Now().Add(e.timeout), done: make(chan result, 1)}
	ctx, cancel := context.WithDeadline(ctx, inv.deadline)
	defer cancel()
	select {
	case e.work <- inv:
	case <-e.exited:
		return nil, e.crashed()
	case <-ctx.Done():
		return nil, fmt.Errorf("the function did not ask for work: %w\n%s", ctx.Err(), e.output)
	}
	select {
	case r := <-inv.done:
		return r.payload, r.err
	case <-e.exited:
		return nil, e.crashed()
	case <-ctx.Done():
		return nil, fmt.Errorf("the function did not answer in time: %w\n%s", ctx.Err(), e.output)
	}
}

func (e *environment) crashed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Errorf("the function's process has ended: %s\n%s", e.initErr, e.output)
}

// stop ends the process, asking it first.
func (e *environment) stop() error {
	if e.process == nil {
		return nil
	}
	_ = e.process.Process.Signal(os.Interrupt)
	select {
	case <-e.exited:
	case <-time.After(2 * time.Second):
		_ = e.process.Process.Kill()
		<-e.exited
	}
	return e.server.Close()
}

// tail keeps the last of what is written to it. It is safe for concurrent use.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 1 << 20

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*maxTail {
		t.b = bytes.Clone(t.b[len(t.b)-maxTail:])
	}
	return len(p), nil
}

// String is the last lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.b)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
