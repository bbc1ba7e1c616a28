package function

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"golang.org/x/sys/unix"
)

const burnt, waited = 40 * time.Millisecond, 5 * time.Millisecond

// The test binary is the function, too.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	lambda.Start(func(_ context.Context, work string) (string, error) {
		switch work {
		case "burn":
			var u unix.Rusage
			for end := int64(0); ; {
				_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
				if used := u.Utime.Nano() + u.Stime.Nano(); end == 0 {
					end = used + burnt.Nanoseconds()
				} else if used >= end {
					break
				}
			}
		case "wait":
			time.Sleep(waited)
		case "log":
			_, _ = os.Stdout.WriteString("12345\n")
		case "fail":
			return "", os.ErrInvalid
		case "exit":
			_, _ = os.Stderr.WriteString("out of work")
			os.Exit(3)
		}
		return "did " + work, nil
	})
}

func launch(t *testing.T) *Function {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Launch(t.TempDir(), nil, self)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// Waiting is wall time, work is both: the clock is the process's.
func TestInvoke(t *testing.T) {
	f := launch(t)
	if f.Start.CPU <= 0 || f.Start.Wall <= 0 {
		t.Errorf("start: %+v", f.Start)
	}
	invoke := func(work string) Times {
		t.Helper()
		response, took, err := f.Invoke([]byte(`"` + work + `"`))
		if err != nil || string(response) != `"did `+work+`"` {
			t.Fatalf("%s: %q, %v", work, response, err)
		}
		return took
	}
	if burn := invoke("burn"); burn.CPU < burnt-time.Millisecond {
		t.Errorf("burn: %+v", burn)
	}
	if wait := invoke("wait"); wait.CPU > burnt/2 || wait.Wall < waited {
		t.Errorf("wait: %+v", wait)
	}
	before := f.Logged()
	invoke("log")
	for end := time.Now().Add(time.Second); f.Logged() == before && time.Now().Before(end); { // a pipe is copied meanwhile
		time.Sleep(time.Millisecond)
	}
	if n := f.Logged() - before; n != 6 {
		t.Errorf("%d bytes logged", n)
	}
	if rss, err := f.MaxRSS(); err != nil || rss < 1<<20 || rss > 1<<30 {
		t.Errorf("%d bytes resident: %v", rss, err)
	}
}

func TestFailures(t *testing.T) {
	f := launch(t)
	if _, _, err := f.Invoke([]byte(`"fail"`)); err == nil || !strings.Contains(err.Error(), "invalid argument") {
		t.Error(err)
	}
	for range 2 { // it stays ended
		if _, _, err := f.Invoke([]byte(`"exit"`)); err == nil || !strings.Contains(err.Error(), "out of work") {
			t.Error(err)
		}
	}
	if _, err := Launch(t.TempDir(), nil, "/bin/false"); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Error(err)
	}
	if _, err := Launch(t.TempDir(), nil, "/no/such/program"); err == nil {
		t.Error("no error")
	}
}
