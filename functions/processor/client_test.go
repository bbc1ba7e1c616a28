package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
)

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// TestRequestBodiesCanOnlyBeRead: net/http must not find a WriteTo.
func TestRequestBodiesCanOnlyBeRead(t *testing.T) {
	sent := errors.New("sent")
	c := client{doer(func(r *http.Request) (*http.Response, error) {
		if _, ok := r.Body.(io.WriterTo); ok {
			t.Error("the body has WriteTo")
		}
		if b, err := io.ReadAll(r.Body); string(b) != "body" || err != nil {
			t.Errorf("the body is %q, %v", b, err)
		}
		return nil, sent
	})}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1", io.NopCloser(bytes.NewReader([]byte("body"))))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Body.(io.WriterTo); !ok {
		t.Fatal("this body has no WriteTo: the test shows nothing")
	}
	if _, err := c.Do(r); err != sent {
		t.Error(err)
	}
	r.Body = nil
	c = client{doer(func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			t.Error("a request without a body has one")
		}
		return nil, sent
	})}
	if _, err := c.Do(r); err != sent {
		t.Error(err)
	}
}
