package producer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/simulate"
	"example.com/market-data-pipeline/functions/producer"
)

// lossy loses the response of every third request.
type lossy struct {
	*simulate.SQS
	requests int
}

func (l *lossy) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, o ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	out, err := l.SQS.SendMessageBatch(ctx, in, o...)
	if l.requests++; l.requests%3 == 0 && err == nil {
		return nil, errOutage
	}
	return out, err
}

// TestAgainstSQS holds the producer against the rules of SQS as simulate knows them, at the largest sizes and with
// symbols and sources of every kind.
func TestAgainstSQS(t *testing.T) {
	for _, test := range []struct {
		name     string
		fifo     bool
		maxBytes int
	}{
		{"FIFO, one billing chunk", true, producer.BillingChunk},
		{"FIFO, the largest", true, producer.MaxRequestBytes},
		{"standard, the largest", false, producer.MaxRequestBytes},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := simulate.NewSQS(time.Now)
				name := "market-data-dev"
				if test.fifo {
					name += ".fifo"
				}
				url, err := service.CreateQueue(simulate.QueueConfig{Name: name, FIFO: test.fifo})
				if err != nil {
					t.Fatal(err)
				}
				p := start(t, producer.Config{Client: &lossy{SQS: service}, QueueURL: url, MaxBytes: test.maxBytes, MaxEvents: 10_000, Concurrency: 1})
				sources := []string{"", "sip", "my feed", "börse", strings.Repeat("f", 64), `"quoted"\`}
				const perSeries = 400
				for i := range perSeries {
					for _, source := range sources {
						e := padded(t, "BTC/USD", i, 1000)
						e.Source = source
						send(t, p, e)
					}
				}
				if err := p.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				got, ids := map[string][]int64{}, map[string]bool{}
				for _, m := range service.Messages(url) {
					id := *m.MessageAttributes[producer.OriginMessageID].StringValue
					if ids[id] {
						if test.fifo {
							t.Errorf("message %s is in the queue twice", id)
						}
						continue // a standard queue keeps both; the pipeline knows them by their identity
					}
					ids[id] = true
					events, refused := market.Decode(nil, *m.Body, time.Now(), 0)
					if len(refused) > 0 {
						t.Fatal(refused[0].Error())
					}
					for _, e := range events {
						got[e.Source] = append(got[e.Source], e.Sequence)
					}
				}
				for _, source := range sources {
					sequence := got[source]
					if !test.fifo {
						slices.Sort(sequence)
					}
					if len(sequence) != perSeries || !slices.IsSorted(sequence) || sequence[0] != 0 {
						t.Errorf("source %q: %d events, sorted %t; want %d", source, len(sequence), slices.IsSorted(sequence), perSeries)
					}
				}
				if s := p.Stats(); s.Retries == 0 || s.Events != perSeries*int64(len(sources)) {
					t.Errorf("stats %s", fmt.Sprintf("%+v", s))
				}
			})
		})
	}
}
