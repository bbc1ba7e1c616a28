// Package endpoint is a stand-in for DynamoDB, SNS and SQS over HTTP: it accepts every write, remembers states, waits as
// long as AWS would, and counts calls, capacity units and notifications. It knows the pipeline's tables by what their
// names contain: "state" and "alerts".
package endpoint

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// Usage is what was called.
type Usage struct {
	Calls map[string]int // by operation
	// Units of DynamoDB's on-demand capacity.
	ReadUnits, StateWriteUnits, AlertWriteUnits float64
	Alerts                                      int // alert items written for the first time
	Notifications                               int // messages published
	PublishUnits                                int // 64 KB each, of one call together
}

// Total is the number of all calls.
func (u Usage) Total() (n int) {
	for _, c := range u.Calls {
		n += c
	}
	return n
}

// Latency is how long each service takes to answer.
type Latency struct{ DynamoDB, SNS, SQS time.Duration }

// Server is the stand-in.
type Server struct {
	Base string // its URL
	http http.Server

	mu      sync.Mutex
	latency Latency
	usage   Usage
	states  map[string]item // by table and series
	alerts  map[string]bool
}

// LeastLatency is that of a call without any. An answer that overtakes the last step of the request's writer makes Go's
// HTTP client drop the connection: the body that smithy-go closes behind the response's header gives io.EOF to WriteTo.
const LeastLatency = 500 * time.Microsecond

// Start serves on a free port of this machine, without latency but LeastLatency.
func Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Base: "http://" + listener.Addr().String()}
	s.Reset(Latency{})
	s.http.Handler = s
	go func() { _ = s.http.Serve(listener) }() // ends by Close
	return s, nil
}

// Close ends it.
func (s *Server) Close() { _ = s.http.Close() }

// Reset forgets everything and sets the latencies.
func (s *Server) Reset(l Latency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency, s.usage = l, Usage{Calls: map[string]int{}}
	s.states, s.alerts = map[string]item{}, map[string]bool{}
}

// Take returns the usage since the last Reset or Take.
func (s *Server) Take() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.usage
	s.usage = Usage{Calls: map[string]int{}}
	return u
}

// ServeHTTP answers the calls of an AWS SDK.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer any
	var latency time.Duration
	target := r.Header.Get("X-Amz-Target")
	_, operation, _ := strings.Cut(target, ".")
	s.mu.Lock()
	switch {
	case strings.HasPrefix(target, "DynamoDB"):
		latency = s.latency.DynamoDB
		answer, err = s.dynamoDB(operation, body)
	case strings.HasPrefix(target, "AmazonSQS"):
		latency = s.latency.SQS
		answer = map[string]any{}
	default:
		latency = s.latency.SNS
		operation, answer, err = s.sns(body)
	}
	s.usage.Calls[operation]++
	s.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	time.Sleep(max(latency, LeastLatency))
	if text, isXML := answer.(string); isXML {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, text) // the caller notices what it does not get
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_ = json.NewEncoder(w).Encode(answer)
}

type item map[string]value

// value is an attribute value in DynamoDB's JSON, with one member.
type value map[string]json.RawMessage

func (v value) text() (s string) {
	for _, raw := range v {
		_ = json.Unmarshal(raw, &s) // "" where it is no text
	}
	return s
}

// bytes is the size by which DynamoDB bills: names and values.
func (i item) bytes() (n int) {
	for name, v := range i {
		n += len(name) + v.bytes()
	}
	return n
}

func (v value) bytes() int {
	for kind, raw := range v {
		switch kind {
		case "S":
			return len(v.text())
		case "N":
			return (len(v.text())+1)/2 + 1
		case "B":
			return base64.StdEncoding.DecodedLen(len(v.text())) - strings.Count(v.text(), "=")
		case "M":
			var m item
			if json.Unmarshal(raw, &m) == nil {
				return 3 + len(m) + m.bytes()
			}
		}
	}
	return 1
}

func units(bytes, each int) float64 { return float64(max(1, (bytes+each-1)/each)) }

type write struct {
	TableName string
	Item      item
}

func (s *Server) dynamoDB(operation string, body []byte) (answer any, err error) {
	switch operation {
	case "BatchGetItem":
		var in struct {
			RequestItems map[string]struct{ Keys []item }
		}
		if err = json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		found := map[string][]item{}
		for table, request := range in.RequestItems {
			found[table] = []item{}
			for _, key := range request.Keys {
				stored := s.states[table+"/"+key[settings.StatePartitionKey].text()]
				s.usage.ReadUnits += units(stored.bytes(), 4096)
				if stored != nil {
					found[table] = append(found[table], stored)
				}
			}
		}
		return map[string]any{"Responses": found, "UnprocessedKeys": map[string]any{}}, nil
	case "PutItem":
		var in write
		err = json.Unmarshal(body, &in)
		s.put(in, 1)
	case "UpdateItem":
		var in struct {
			TableName string
			Key       item
		}
		err = json.Unmarshal(body, &in)
		s.put(write{in.TableName, in.Key}, 1)
	case "TransactWriteItems":
		var in struct{ TransactItems []struct{ Put write } }
		err = json.Unmarshal(body, &in)
		for _, t := range in.TransactItems {
			s.put(t.Put, 2)
		}
	case "BatchWriteItem":
		var in struct {
			RequestItems map[string][]struct{ PutRequest write }
		}
		err = json.Unmarshal(body, &in)
		for table, requests := range in.RequestItems {
			for _, r := range requests {
				s.put(write{table, r.PutRequest.Item}, 1)
			}
		}
		return map[string]any{"UnprocessedItems": map[string]any{}}, err
	}
	return map[string]any{}, err
}

// put bills a write, or an update to at most 1 KB, of the base table, in a transaction twice, and those of the sparse
// indexes, which come once: an entry that appears or disappears. The day index projects nothing that ever changes; the due
// index moves with the clock on the wall, not with events, and is left out.
func (s *Server) put(w write, times float64) {
	u := units(w.Item.bytes(), 1024)
	if strings.Contains(w.TableName, "state") {
		s.usage.StateWriteUnits += times * u
		series := w.TableName + "/" + w.Item[settings.StatePartitionKey].text()
		s.states[series] = w.Item
		return
	}
	s.usage.AlertWriteUnits += times * u
	key := w.TableName + "/" + w.Item[settings.AlertsPartitionKey].text() + "/" + w.Item[settings.AlertsSortKey].text()
	if _, pending := w.Item[settings.PendingShardKey]; pending || s.alerts[key] {
		s.usage.AlertWriteUnits++
	}
	if !s.alerts[key] {
		s.alerts[key] = true
		s.usage.Alerts++
		if _, indexed := w.Item[settings.DayShardKey]; indexed {
			s.usage.AlertWriteUnits += u
		}
	}
}

func (s *Server) sns(body []byte) (operation string, answer any, err error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil, err
	}
	operation = form.Get("Action")
	var result strings.Builder
	n, bytes := 0, 0
	switch operation {
	case "Publish":
		n, bytes = 1, len(form.Get("Message"))
		result.WriteString("<MessageId>m</MessageId>")
	case "PublishBatch":
		result.WriteString("<Successful>")
		for ; ; n++ {
			entry := fmt.Sprintf("PublishBatchRequestEntries.member.%d.", n+1)
			if !form.Has(entry + "Id") {
				break
			}
			bytes += len(form.Get(entry + "Message"))
			fmt.Fprintf(&result, "<member><Id>%s</Id><MessageId>m</MessageId></member>", form.Get(entry+"Id"))
		}
		result.WriteString("</Successful><Failed/>")
	default:
		return operation, nil, fmt.Errorf("the stand-in does not know %q", operation)
	}
	s.usage.Notifications += n
	s.usage.PublishUnits += int(units(bytes, 64<<10))
	return operation, fmt.Sprintf(`<%[1]sResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></%[1]sResponse>`,
		operation, result.String()), nil
}
