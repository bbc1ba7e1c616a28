package stackcheck

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/producer"
)

// Traffic sends market data through a deployed stack and checks what becomes of it. Everything that it sends, and
// makes, carries an id of its own, and Close removes it.
type Traffic struct {
	Stack *Stack
	// Rules are those that the stack was deployed with.
	Rules *alert.Rules
	// WantByRule is how many alerts each rule must fire; nil leaves the expectation to the rule engine alone.
	WantByRule map[string]int
	// Patience is how long the outcome is waited for.
	Patience time.Duration
	// Deferred tells whether the message of the series Newer has been returned once; nil guesses by the time.
	Deferred func() bool
	// Tick invokes the function as the clock's schedule does; nil where the schedule itself runs.
	Tick func(context.Context) error

	feed       feed
	settings   settings.Settings
	events     []market.Event // good ones, in the order of sending
	alerts     []alert.Alert  // expected, all
	clocked    []alert.Alert  // of them, those that clock events fire
	swept      []alert.Alert  // of them, those that were planted as pending
	refused    map[reject]int // expected
	messages   int
	subscriber *subscriber
	planted    bool // a state that the processor must not touch
}

// reject is a refused event as the rejects queue must show it.
type reject struct {
	reason market.Reason
	origin string
	index  string
	body   string
}

// Names of the series with a part of their own. PublishFails is for whoever can make a publication fail. The first
// message of Newer finds a state that newer code wrote, and is deferred. Quiet waits for the clock. The event of
// seriesSwept is never sent: its alerts are planted as a function leaves them that could not publish them.
const (
	PublishFails = "FAIL"
	Newer        = "NEWER"
	Quiet        = "QUIET"
	seriesGap    = "GAP"
	seriesSwept  = "SWEPT"
	seriesMixed  = "MIX"
	seriesRepeat = "REP"
)

// NewTraffic prepares a run.
func NewTraffic(ctx context.Context, s *Stack, rules *alert.Rules) (*Traffic, error) {
	fn, err := s.Function(ctx)
	if err != nil {
		return nil, err
	}
	c, err := fn.Settings(s.Region)
	if err != nil {
		return nil, fmt.Errorf("environment of function %s: %w", s.FunctionName, err)
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	return &Traffic{
		Stack: s, Rules: rules, Patience: 4 * time.Minute, settings: c, refused: map[reject]int{},
		feed: feed{run: hex.EncodeToString(id[:]), start: time.Now().UTC().Truncate(time.Millisecond).Add(-30 * time.Second)},
	}, nil
}

// Symbol is the run's symbol of that name.
func (t *Traffic) Symbol(name string) string { return t.feed.symbol(name) }

// ID is the run's id.
func (t *Traffic) ID() string { return t.feed.run }

// Run sends and checks. Its steps go on where the ones before have failed, as far as that makes sense.
func (t *Traffic) Run(ctx context.Context, r *Report) {
	if !r.Step("subscribe a queue to the alerts, filtered by symbol", func() (_ string, err error) {
		t.subscriber, err = subscribe(ctx, t.Stack, t.Stack.AlertTopicARN, "alerts-"+t.feed.run,
			map[string]any{"symbol": []any{map[string]string{"prefix": t.feed.prefix()}}})
		return "", err
	}) {
		return
	}
	if !r.Step("send", func() (string, error) { return t.send(ctx) }) {
		return
	}
	r.Step("every alert that needs no clock is stored and settled", func() (string, error) { return t.await(ctx, t.prompt()) })
	r.Step("the clock fires what waits for time and publishes what was left pending", func() (string, error) { return t.checkClock(ctx) })
	r.Step("alerts have every attribute, and there are no others", func() (string, error) { return t.checkItems(ctx) })
	r.Step("the pending index is empty, by-day lists the alerts in time order", func() (string, error) { return t.checkIndexes(ctx) })
	r.Step("the subscriber has each alert once", func() (string, error) { return t.checkNotifications(ctx) })
	r.Step("bad events are in the rejects queue with their reasons", func() (string, error) { return t.checkRejects(ctx) })
	if t.Stack.Emulated {
		r.Step("the queues are empty", func() (string, error) { return t.checkEmpty(ctx) })
	}
	r.Step("a deferred message came back when the processor said", func() (string, error) { return t.checkComeback(ctx) })
}

// send sends the good events through the producer, the others as they are.
func (t *Traffic) send(ctx context.Context) (string, error) {
	if err := t.plantNewer(ctx); err != nil {
		return "", err
	}
	t.events = append(t.feed.events(), t.feed.block(PublishFails, 0), t.feed.block(Newer, 0))
	t.events = append(append(t.events, t.feed.quiet(Quiet)...), t.feed.gap(seriesGap)...)
	n, maxEvents := 0, 5
	if !t.Stack.FIFO() {
		maxEvents = perSymbol // a series in one message: messages come in any order
	}
	p, err := producer.New(producer.Config{
		Client: t.Stack.SQS, QueueURL: t.Stack.QueueURL, MaxEvents: maxEvents, GiveUpAfter: t.Patience,
		NewID: func() string { n++; return t.origin(fmt.Sprintf("good-%d", n)) },
	})
	if err != nil {
		return "", err
	}
	for i := range t.events {
		if err := p.Send(ctx, &t.events[i]); err != nil {
			return "", errors.Join(err, p.Close(ctx))
		}
	}
	if err := p.Close(ctx); err != nil {
		return "", err
	}
	t.messages = int(p.Stats().Messages)
	if err := errors.Join(t.sendMixed(ctx), t.sendRepeated(ctx), t.sendBad(ctx)); err != nil {
		return "", err
	}
	t.events = append(t.events, t.feed.block(seriesSwept, 0))
	t.alerts, t.clocked = expected(t.Rules, alert.Options{Lateness: t.settings.Lateness, Ordered: t.settings.Delivery == settings.Ordered}, t.events,
		t.feed.start.Add(clockHorizon).UnixNano())
	t.alerts = append(t.alerts, t.clocked...)
	if err := t.plantPending(ctx); err != nil {
		return "", err
	}
	byRule := map[string]int{}
	for i := range t.alerts {
		byRule[t.alerts[i].Rule]++
	}
	detail := fmt.Sprintf("%d messages; %d good events, which fire %v; %d bad ones", t.messages, len(t.events), byRule, len(t.refused))
	if len(t.alerts) == 0 {
		return detail, errors.New("the rules fire for none of the events: give the file that the stack was deployed with")
	}
	if t.WantByRule != nil && !maps.Equal(byRule, t.WantByRule) {
		return detail, fmt.Errorf("the rule engine fires %v, want %v", byRule, t.WantByRule)
	}
	return detail, nil
}

func (t *Traffic) origin(name string) string { return "check-" + t.feed.run + "-" + name }

// sendMixed sends two packed messages, an array and lines, each with a bad event between good ones.
func (t *Traffic) sendMixed(ctx context.Context) error {
	var errs []error
	for i, layout := range [][3]string{{"[", ",", "]"}, {"", "\n", ""}} {
		name := fmt.Sprintf("%s%d", seriesMixed, i)
		first, last := t.feed.block(name, 0), t.feed.block(name, 1)
		bad := badEvent{market.NonPositive, `{"symbol":"` + first.Symbol + `","price":-1,"timestamp":"` + market.FormatTime(first.Time) + `"}`}
		parts := []string{string(first.AppendJSON(nil)), bad.body, string(last.AppendJSON(nil))}
		origin := t.origin(fmt.Sprintf("mixed-%d", i))
		t.events = append(t.events, first, last)
		t.refused[reject{bad.reason, origin, "1", bad.body}]++
		errs = append(errs, t.sendRaw(ctx, producer.MessageGroup(first.Symbol, first.Source), origin, origin, "", layout[0]+strings.Join(parts, layout[1])+layout[2]))
	}
	return errors.Join(errs...)
}

// sendRepeated sends one message twice, as a redrive or a lost acknowledgement does: with the same origin. Its events
// have no sequence, by which they could be told apart otherwise.
func (t *Traffic) sendRepeated(ctx context.Context) error {
	up, down := t.feed.block(seriesRepeat, 0), t.feed.block(seriesRepeat, 1)
	up.HasSeq, down.HasSeq = false, false
	up.Sequence, down.Sequence = 0, 0
	down.Price, down.Size = whole(100), whole(1)
	t.events = append(t.events, up, down)
	body := string(up.AppendJSON(nil)) + "\n" + string(down.AppendJSON(nil))
	group, origin := producer.MessageGroup(up.Symbol, up.Source), t.origin("repeated")
	return errors.Join(t.sendRaw(ctx, group, origin, origin+"-1", "", body), t.sendRaw(ctx, group, origin, origin+"-2", "", body))
}

func (t *Traffic) sendBad(ctx context.Context) error {
	var errs []error
	bad := append(t.feed.badEvents(), badEvent{market.UnknownFormat, `{"vendor":"unknown"}`})
	for i, b := range bad {
		origin := t.origin(fmt.Sprintf("bad-%d", i))
		format := ""
		if b.reason == market.UnknownFormat {
			format = "no-such-dialect"
		}
		t.refused[reject{b.reason, origin, "0", b.body}]++
		errs = append(errs, t.sendRaw(ctx, t.origin(fmt.Sprintf("group-%d", i%4)), origin, origin, format, b.body))
	}
	return errors.Join(errs...)
}

func (t *Traffic) sendRaw(ctx context.Context, group, origin, deduplication, format, body string) error {
	text := func(v string) sqstypes.MessageAttributeValue {
		return sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
	}
	in := &sqs.SendMessageInput{
		QueueUrl: &t.Stack.QueueURL, MessageBody: &body,
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{producer.OriginMessageID: text(origin)},
	}
	if format != "" {
		in.MessageAttributes["format"] = text(format)
	}
	if t.Stack.FIFO() {
		in.MessageGroupId, in.MessageDeduplicationId = &group, &deduplication
	}
	if _, err := t.Stack.SQS.SendMessage(ctx, in); err != nil {
		return fmt.Errorf("sending %s: %w", origin, err)
	}
	t.messages++
	return nil
}

// newer is a state in a format of the future: the processor must leave it alone and defer the message.
var newer = []byte{0xFF}

// plantFor is how long the state of the future stays where nobody can tell whether the message was deferred: the poller
// must have delivered it by then. Less than the first retry delay, so that the second delivery succeeds.
const plantFor = 8 * time.Second

func (t *Traffic) plantNewer(ctx context.Context) error {
	_, err := t.Stack.Tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: &t.Stack.StateTable, Item: map[string]types.AttributeValue{
		settings.StatePartitionKey: &types.AttributeValueMemberS{Value: t.newerSeries()},
		"version":                  &types.AttributeValueMemberN{Value: "1"},
		"data":                     &types.AttributeValueMemberB{Value: newer},
	}})
	if err != nil {
		return fmt.Errorf("planting a state: %w", err)
	}
	t.planted = true
	return nil
}

// plantPending stores the alerts of seriesSwept as pending and released, for nobody but the clock to find. A lease that
// has run out would set off an alarm.
func (t *Traffic) plantPending(ctx context.Context) error {
	now := time.Now().UnixMilli()
	c := alert.Commit{ID: t.origin("swept"), Series: market.SeriesKey(t.Symbol(seriesSwept), FeedSource)}
	for i := range t.alerts {
		if a := t.alerts[i]; a.Symbol == t.Symbol(seriesSwept) && a.Notify {
			t.swept = append(t.swept, a)
			c.Alerts = append(c.Alerts, alert.Record{Alert: a, Times: alert.Times{Received: now, Stored: now}, Status: alert.Pending, Owner: c.ID})
		}
	}
	if len(c.Alerts) == 0 {
		return fmt.Errorf("no rule that notifies fires for a block of %s", t.Symbol(seriesSwept))
	}
	if _, err := t.store().Commit(ctx, c); err != nil {
		return fmt.Errorf("planting pending alerts: %w", err)
	}
	return nil
}

func (t *Traffic) store() *ledger.DynamoDB {
	return ledger.NewDynamoDB(t.Stack.Tables, ledger.Config{AlertsTable: t.Stack.AlertsTable, StateTable: t.Stack.StateTable, AlertTTL: t.settings.AlertTTL})
}

// prompt are the expected alerts that no clock is needed for.
func (t *Traffic) prompt() []alert.Alert {
	later := map[alert.Key]bool{}
	for _, a := range slices.Concat(t.clocked, t.swept) {
		later[a.Key()] = true
	}
	return slices.DeleteFunc(slices.Clone(t.alerts), func(a alert.Alert) bool { return later[a.Key()] })
}

func (t *Traffic) newerSeries() string { return market.SeriesKey(t.Symbol(Newer), FeedSource) }

func (t *Traffic) deleteState(ctx context.Context, series string) error {
	_, err := t.Stack.Tables.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &t.Stack.StateTable, Key: map[string]types.AttributeValue{
		settings.StatePartitionKey: &types.AttributeValueMemberS{Value: series},
	}})
	if err != nil {
		return fmt.Errorf("deleting the state of %s: %w", series, err)
	}
	return nil
}

// await waits until alerts are stored and no longer pending.
func (t *Traffic) await(ctx context.Context, alerts []alert.Alert) (string, error) {
	store := t.store()
	keys := keysOf(alerts)
	start := time.Now()
	deferred := t.Deferred
	if deferred == nil {
		deferred = func() bool { return time.Since(start) > plantFor }
	}
	for {
		if t.planted && deferred() {
			if err := t.deleteState(ctx, t.newerSeries()); err != nil {
				return "", err
			}
			t.planted = false
		}
		records, err := store.Records(ctx, keys)
		if err != nil {
			return "", err
		}
		var waiting []string
		for i := range alerts {
			a := &alerts[i]
			if r, stored := records[a.Key()]; !stored {
				waiting = append(waiting, fmt.Sprintf("%s of rule %s for %s: not stored", a.ID, a.Rule, a.Symbol))
			} else if want := status(a); r.Status != want {
				waiting = append(waiting, fmt.Sprintf("%s of rule %s for %s: %s, want %s", a.ID, a.Rule, a.Symbol, r.Status, want))
			}
		}
		if len(waiting) == 0 {
			return fmt.Sprintf("%d alerts", len(keys)), nil
		}
		if time.Since(start) > t.Patience {
			return "", fmt.Errorf("%d of %d alerts are missing after %s, if all are: was the stack deployed with these rules?\n%s",
				len(waiting), len(keys), t.Patience, strings.Join(waiting[:min(len(waiting), 10)], "\n"))
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// status is how an alert must be stored in the end.
func status(a *alert.Alert) alert.Status {
	if a.Notify {
		return alert.Sent
	}
	return alert.Muted
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// checkClock ticks once, unless the schedule does, and waits for what only the clock brings about.
func (t *Traffic) checkClock(ctx context.Context) (string, error) {
	var series []string
	for i := range t.clocked {
		series = append(series, market.SeriesKey(t.clocked[i].Symbol, t.clocked[i].Source))
	}
	slices.Sort(series)
	series = slices.Compact(series)
	var before map[string]alert.Snapshot
	if t.Tick != nil {
		var err error
		if before, err = t.awaitDue(ctx, series); err != nil {
			return "", err
		}
		records, err := t.store().Records(ctx, keysOf(slices.Concat(t.clocked, t.swept)))
		if err != nil {
			return "", err
		}
		var errs []error
		for _, r := range records {
			if r.Status != alert.Pending || r.Symbol != t.Symbol(seriesSwept) {
				errs = append(errs, fmt.Errorf("alert %s of rule %s for %s is %s before the clock has ticked", r.ID, r.Rule, r.Symbol, r.Status))
			}
		}
		if err := errors.Join(append(errs, t.Tick(ctx))...); err != nil {
			return "", err
		}
	}
	if _, err := t.await(ctx, slices.Concat(t.clocked, t.swept)); err != nil {
		return "", err
	}
	if before != nil {
		after, _, err := t.store().ReadStates(ctx, series)
		if err != nil {
			return "", err
		}
		for _, s := range series {
			if after[s].Due.At != 0 && after[s].Due.At <= before[s].Due.At {
				return "", fmt.Errorf("series %s is still due at %s", s, time.UnixMilli(after[s].Due.At).UTC())
			}
		}
	}
	return fmt.Sprintf("%d alerts fired, %d swept", len(t.clocked), len(t.swept)), nil
}

// awaitDue waits until the series' states say that they are due.
func (t *Traffic) awaitDue(ctx context.Context, series []string) (map[string]alert.Snapshot, error) {
	for start := time.Now(); ; {
		states, bad, err := t.store().ReadStates(ctx, series)
		if err != nil {
			return nil, err
		}
		now := time.Now().UnixMilli()
		late := slices.DeleteFunc(slices.Clone(series), func(s string) bool { return states[s].Due.At != 0 && states[s].Due.At <= now })
		if len(late) == 0 {
			return states, nil
		}
		if time.Since(start) > t.Patience {
			return nil, fmt.Errorf("series %v are not due after %s: their states are %v, %v", late, t.Patience, states, bad)
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func keysOf(alerts []alert.Alert) []alert.Key {
	keys := make([]alert.Key, len(alerts))
	for i := range alerts {
		keys[i] = alerts[i].Key()
	}
	return keys
}

// checkComeback measures the time from sending to publishing of the message that was deferred once.
func (t *Traffic) checkComeback(ctx context.Context) (string, error) {
	for i := range t.alerts {
		a := &t.alerts[i]
		if a.Symbol != t.Symbol(Newer) {
			continue
		}
		records, err := t.store().Records(ctx, []alert.Key{a.Key()})
		if err != nil {
			return "", err
		}
		r, stored := records[a.Key()]
		if !stored {
			return "", fmt.Errorf("alert %s is not stored: the message did not come back within %s", a.ID, t.Patience)
		}
		took := time.Duration(r.Stored-r.Received) * time.Millisecond
		// SQS counts whole seconds, and its clock is not the function's.
		if took < settings.FirstRetryDelay-2*time.Second {
			return "", fmt.Errorf("it was processed after %s: it was delivered too late to be deferred (in the first %s), or came back before the %s that it was hidden for",
				took, plantFor, settings.FirstRetryDelay)
		}
		if !t.Stack.Emulated && took > 2*settings.FirstRetryDelay+plantFor {
			return "", fmt.Errorf("it was processed after %s: it was hidden for longer than the %s that the processor set", took, settings.FirstRetryDelay)
		}
		return fmt.Sprintf("after %s; it was hidden for %s", took, settings.FirstRetryDelay), nil
	}
	return "", fmt.Errorf("no rule fires for %s", t.Symbol(Newer))
}

// checkEmpty checks that nothing is left in the queues that nobody else uses. What was delivered last may still have to
// be deleted, and a message returned twice is hidden for 30 seconds.
func (t *Traffic) checkEmpty(ctx context.Context) (string, error) {
	for start := time.Now(); ; {
		err := t.left(ctx)
		if err == nil || time.Since(start) > 4*settings.FirstRetryDelay {
			return "", err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return "", err
		}
	}
}

func (t *Traffic) left(ctx context.Context) error {
	var errs []error
	for name, url := range map[string]string{"queue": t.Stack.QueueURL, "dead-letter queue": t.Stack.DeadLetterURL, "rejects queue": t.Stack.RejectsURL} {
		a, err := t.Stack.attributes(ctx, url)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, k := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"} {
			if a[k] != "0" {
				errs = append(errs, fmt.Errorf("%s: %s is %s, want 0", name, k, a[k]))
			}
		}
	}
	return errors.Join(errs...)
}

// Close removes the run's alerts, states, queue and subscription. It goes on after an error.
func (t *Traffic) Close(ctx context.Context) error {
	var errs []error
	if t.subscriber != nil {
		errs = append(errs, t.subscriber.close(ctx))
	}
	symbols := map[string]string{}
	for i := range t.events {
		symbols[t.events[i].Symbol] = t.events[i].Series()
	}
	if t.planted {
		symbols[t.Symbol(Newer)] = t.newerSeries()
	}
	for _, symbol := range slices.Sorted(maps.Keys(symbols)) {
		errs = append(errs, t.deleteState(ctx, symbols[symbol]))
		items, err := t.query(ctx, "", settings.AlertsPartitionKey, symbol, "", "")
		errs = append(errs, err)
		for _, it := range items {
			_, err := t.Stack.Tables.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &t.Stack.AlertsTable, Key: map[string]types.AttributeValue{
				settings.AlertsPartitionKey: it[settings.AlertsPartitionKey], settings.AlertsSortKey: it[settings.AlertsSortKey],
			}})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
