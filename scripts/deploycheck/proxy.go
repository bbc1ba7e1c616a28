package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// proxy stands between the function and the emulator. It records which permissions the function's calls need, and can
// make calls fail. It is safe for concurrent use.
type proxy struct {
	account string
	forward http.Handler

	mu     sync.Mutex
	calls  map[call]int
	broken []string                             // calls whose permissions cannot be told
	fail   func(calls []call, body []byte) bool // decides, under the lock, which calls fail; nil = none
	failed int
}

func newProxy(target *url.URL, account string) *proxy {
	return &proxy{account: account, calls: map[call]int{}, forward: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed, and the emulator answers with it
	}}}
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	calls, err := callsOf(r, body, p.account)
	p.mu.Lock()
	for _, c := range calls {
		p.calls[c]++
	}
	if err != nil {
		p.broken = append(p.broken, err.Error())
	}
	refuse := p.fail != nil && p.fail(calls, body)
	if refuse {
		p.failed++
	}
	p.mu.Unlock()
	if refuse {
		http.Error(w, "this call is made to fail", http.StatusInternalServerError)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.forward.ServeHTTP(w, r)
}

// recorded are the permissions that were used, sorted; the error names the calls that could not be read.
func (p *proxy) recorded() ([]call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := slices.SortedFunc(maps.Keys(p.calls), func(a, b call) int { return strings.Compare(a.String(), b.String()) })
	if len(p.broken) > 0 {
		return calls, fmt.Errorf("calls whose permissions cannot be told: %s", strings.Join(p.broken, "; "))
	}
	return calls, nil
}

// failures is how many calls were made to fail.
func (p *proxy) failures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// scope are the region and the service of a signed request.
func scope(r *http.Request) (region, service string, err error) {
	_, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, _, _ := strings.Cut(rest, ",")
	parts := strings.Split(credential, "/")
	if !ok || len(parts) != 5 {
		return "", "", fmt.Errorf("%s %s is not signed", r.Method, r.URL.Path)
	}
	return parts[2], parts[3], nil
}

// operation is the operation of a request of the JSON or the query protocol, and its parameters.
func operation(r *http.Request, body []byte) (name string, in map[string]any, err error) {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, name, _ = strings.Cut(target, ".")
		if err := json.Unmarshal(body, &in); err != nil {
			return name, nil, fmt.Errorf("the body of %s: %w", target, err)
		}
		return name, in, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("Action") == "" {
		return "", nil, fmt.Errorf("%s %s names no operation", r.Method, r.URL.Path)
	}
	in = map[string]any{}
	for k := range form {
		in[k] = form.Get(k)
	}
	return form.Get("Action"), in, nil
}

// callsOf are the permissions that AWS asks for a request: for a batch or a transaction that of each part.
func callsOf(r *http.Request, body []byte, account string) ([]call, error) {
	region, service, err := scope(r)
	if err != nil {
		return nil, err
	}
	name, in, err := operation(r, body)
	if err != nil {
		return nil, err
	}
	arn := func(resource string) string {
		if strings.HasPrefix(resource, "arn:") {
			return resource
		}
		return "arn:aws:" + service + ":" + region + ":" + account + ":" + resource
	}
	text := func(key string) string { v, _ := in[key].(string); return v }
	switch service {
	case "sqs":
		if queue := text("QueueUrl"); queue != "" {
			// A batch needs the permission for the single operation.
			return []call{{"sqs:" + strings.TrimSuffix(name, "Batch"), arn(queue[strings.LastIndexByte(queue, '/')+1:])}}, nil
		}
	case "sns":
		if topic := text("TopicArn"); topic != "" {
			return []call{{"sns:" + strings.TrimSuffix(name, "Batch"), topic}}, nil
		}
	case "dynamodb":
		if calls := tableCalls(name, in, func(table string) string {
			if strings.HasPrefix(table, "arn:") {
				return table
			}
			return arn("table/" + table)
		}); len(calls) > 0 {
			return calls, nil
		}
	}
	return nil, fmt.Errorf("%s:%s: its resource is not known here", service, name)
}

// transactActions are the permissions of a transaction's parts: there is none for the transaction itself.
var transactActions = map[string]string{
	"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem", "Get": "GetItem",
}

func tableCalls(name string, in map[string]any, arn func(table string) string) []call {
	if table, ok := in["TableName"].(string); ok {
		resource := arn(table)
		if index, ok := in["IndexName"].(string); ok {
			resource += "/index/" + index
		}
		return []call{{"dynamodb:" + name, resource}}
	}
	var calls []call
	if items, ok := in["RequestItems"].(map[string]any); ok { // BatchGetItem, BatchWriteItem
		for table := range items {
			calls = append(calls, call{"dynamodb:" + name, arn(table)})
		}
	}
	items, _ := in["TransactItems"].([]any)
	for _, it := range items {
		parts, _ := it.(map[string]any)
		for kind, part := range parts {
			fields, _ := part.(map[string]any)
			table, _ := fields["TableName"].(string)
			action, known := transactActions[kind]
			if !known || table == "" {
				return nil
			}
			if c := (call{"dynamodb:" + action, arn(table)}); !slices.Contains(calls, c) {
				calls = append(calls, c)
			}
		}
	}
	return calls
}
