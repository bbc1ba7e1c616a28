package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// TestMain lets the test binary be a Lambda function, so that the Runtime API is tested with the client that the
// processor has.
func TestMain(m *testing.M) {
	switch os.Getenv("TEST_FUNCTION") {
	case "":
		os.Exit(m.Run())
	case "crash":
		fmt.Fprintln(os.Stderr, "no settings")
		os.Exit(1)
	}
	lambda.Start(func(ctx context.Context, in map[string]string) (map[string]any, error) {
		switch in["do"] {
		case "fail":
			return nil, errors.New("on purpose")
		case "exit":
			os.Exit(3)
		case "hang":
			time.Sleep(time.Hour)
		}
		lc, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{"echo": in["do"], "arn": lc.InvokedFunctionArn, "id": lc.AwsRequestID, "left": time.Until(deadline) > 0,
			"inherited": os.Getenv("HOME")}, nil
	})
}

const functionARN = "arn:aws:lambda:us-east-1:123456789012:function:data-processor-t"

func startFunction(t *testing.T, kind string, timeout time.Duration) *environment {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := newEnvironment(functionARN, timeout)
	if err := e.start(t.Context(), []string{self}, t.TempDir(), []string{"TEST_FUNCTION=" + kind}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestRuntimeServesARealFunction(t *testing.T) {
	e := startFunction(t, "echo", time.Minute)
	ids := map[any]bool{}
	for _, word := range []string{"one", "two"} {
		answer, err := e.invoke(t.Context(), []byte(`{"do": "`+word+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Fatal(err)
		}
		if got["echo"] != word || got["arn"] != functionARN || got["left"] != true || got["inherited"] != "" {
			t.Errorf("answer %s", answer)
		}
		ids[got["id"]] = true
	}
	if len(ids) != 2 || ids[""] {
		t.Errorf("request ids %v, want two", ids)
	}
	if _, err := e.invoke(t.Context(), []byte(`{"do": "fail"}`)); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("error %v, want the function's", err)
	}
	if _, err := e.invoke(t.Context(), []byte(`{"do": "after a failure"}`)); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

func TestRuntimeReportsAFunctionThatEnds(t *testing.T) {
	e := startFunction(t, "echo", time.Minute)
	if _, err := e.invoke(t.Context(), []byte(`{"do": "exit"}`)); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("during an invocation: %v", err)
	}
	crashed := startFunction(t, "crash", time.Minute)
	if _, err := crashed.invoke(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no settings") {
		t.Errorf("at its start: %v, want what it wrote", err)
	}
	nothing := newEnvironment(functionARN, time.Minute)
	if err := nothing.start(t.Context(), []string{"/no/such/program"}, "", nil); err == nil {
		t.Error("a program that does not exist was started")
	}
	if err := newEnvironment(functionARN, time.Minute).stop(); err != nil {
		t.Errorf("stop before start: %v", err)
	}
}

func TestRuntimeEndsAnInvocationAtItsDeadline(t *testing.T) {
	e := startFunction(t, "echo", 300*time.Millisecond)
	if _, err := e.invoke(t.Context(), []byte(`{"do": "hang"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline's", err)
	}
}

func TestRuntimeRefusesAnswersToNothing(t *testing.T) {
	e := newEnvironment(functionARN, time.Minute)
	api := httptest.NewServer(e.routes())
	defer api.Close()
	post := func(path string) int {
		response, err := http.Post(api.URL+runtimePrefix+path, "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for path, want := range map[string]int{
		"invocation/unknown/response": http.StatusBadRequest, "invocation/unknown/error": http.StatusBadRequest,
		"init/error": http.StatusAccepted, "invocation/next": http.StatusMethodNotAllowed,
	} {
		if got := post(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if e.initErr != "{}" {
		t.Errorf("the error of the start is %q", e.initErr)
	}
}

func TestRuntimeAcceptsOneAnswer(t *testing.T) {
	e := newEnvironment(functionARN, time.Minute)
	api := httptest.NewServer(e.routes())
	defer api.Close()
	answered := make(chan string)
	go func() {
		answer, err := e.invoke(t.Context(), []byte(`{"n": 1}`))
		answered <- fmt.Sprint(string(answer), err)
	}()
	next, err := http.Get(api.URL + runtimePrefix + "invocation/next")
	if err != nil {
		t.Fatal(err)
	}
	next.Body.Close()
	id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
	for _, h := range []string{"Lambda-Runtime-Deadline-Ms", "Lambda-Runtime-Invoked-Function-Arn"} {
		if next.Header.Get(h) == "" {
			t.Errorf("header %s is missing", h)
		}
	}
	var codes []int
	for _, body := range []string{"first", "second"} {
		response, err := http.Post(api.URL+runtimePrefix+"invocation/"+id+"/response", "", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		codes = append(codes, response.StatusCode)
	}
	if got := <-answered; got != "first<nil>" || codes[0] != http.StatusAccepted || codes[1] != http.StatusBadRequest {
		t.Errorf("answer %q, codes %v", got, codes)
	}
}

func TestTail(t *testing.T) {
	var w tail
	for i := range 100 {
		fmt.Fprintf(&w, "line %d\n", i)
	}
	if got := w.String(); !strings.HasPrefix(got, "line 85\n") || !strings.HasSuffix(got, "line 99") {
		t.Errorf("tail is %q", got)
	}
	_, _ = w.Write(make([]byte, 3*maxTail))
	if len(w.b) > 2*maxTail {
		t.Errorf("tail keeps %d bytes", len(w.b))
	}
}
