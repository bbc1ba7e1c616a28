package ledger

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// Attributes that only this package writes and reads. The others, and the keys, are in settings.
const (
	attrVersion = "version"
	attrCommit  = "commit_id"
	attrData    = "data"
	attrOwner   = "owner"
	attrStatus  = "status"
	attrRefusal = "refusal"
	attrLag     = "lag" // milliseconds
)

type item = map[string]types.AttributeValue

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func num(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// float is a number where DynamoDB can hold it (1e-130 to 9.99e125), else its text.
func float(f float64) types.AttributeValue {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if a := math.Abs(f); a != 0 && !(a >= 1e-130 && a <= 9.9e125) { // NaN too
		return str(s)
	}
	return &types.AttributeValueMemberN{Value: s}
}

func text(it item, name string) string {
	switch v := it[name].(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	}
	return ""
}

func alertKey(k alert.Key) item {
	return item{settings.AlertsPartitionKey: str(k.Symbol), settings.AlertsSortKey: str(k.ID)}
}

func (d *DynamoDB) parseState(it item) (alert.Snapshot, error) {
	data, ok := it[attrData].(*types.AttributeValueMemberB)
	if !ok {
		return alert.Snapshot{}, fmt.Errorf("attribute %s is missing or no binary", attrData)
	}
	version, err := strconv.ParseInt(text(it, attrVersion), 10, 64)
	if err != nil || version < 1 {
		return alert.Snapshot{}, fmt.Errorf("attribute %s is not a positive number", attrVersion)
	}
	s, err := alert.ParseSnapshot(data.Value)
	if err != nil {
		return s, err
	}
	s.Version = version
	if expires, parseErr := strconv.ParseInt(text(it, settings.StateTTL), 10, 64); parseErr == nil {
		s.Stale = time.Unix(expires, 0).Sub(d.cfg.Now()) < d.cfg.StateTTL/2
	}
	if s.Due, err = parseDue(it); err != nil {
		return s, err
	}
	s.Lag, err = integer(it, attrLag)
	return s, err
}

// integer is the whole number of an attribute, 0 where it is absent.
func integer(it item, name string) (int64, error) {
	v := text(it, name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("attribute %s is not a whole number", name) // strconv's error quotes it
	}
	return n, nil
}

// setDue puts the due index's keys into the item of a series that waits for time, and the feed's lag.
func setDue(it item, series string, s *alert.Snapshot) {
	if s.Lag != 0 {
		it[attrLag] = num(s.Lag)
	}
	if s.Due.At == 0 {
		return
	}
	it[settings.DueShardKey] = str(strconv.Itoa(shard(series, settings.DueShards)))
	it[settings.DueKey] = num(s.Due.At)
	it[settings.DueEvent] = num(s.Due.Event)
	if s.Due.Group != "" {
		it[settings.DueGroup] = str(s.Due.Group)
	}
}

func parseDue(it item) (alert.Due, error) {
	at, err := integer(it, settings.DueKey)
	event, err2 := integer(it, settings.DueEvent)
	return alert.Due{At: at, Event: event, Group: text(it, settings.DueGroup)}, errors.Join(err, err2)
}

// recordItem is the stored form of an alert: the fields of alert.Record by their names in the flat record, without the
// absent ones. Only a pending alert has the pending index's keys.
func (d *DynamoDB) recordItem(r *alert.Record, commit string) item {
	it := alertKey(r.Key())
	it[settings.DayShardKey] = str(DayShard(r.Time, r.ID))
	it["rule"] = str(r.Rule)
	it["severity"] = str(string(r.Severity))
	it["timestamp"] = str(market.FormatTime(r.Time))
	it["value"] = float(r.Value)
	it["rule_version"] = str(r.RuleVersion)
	it[attrStatus] = str(string(r.Status))
	set := func(name, value string) {
		if value != "" {
			it[name] = str(value)
		}
	}
	set("source", r.Source)
	set("summary", r.Summary)
	set("event_id", r.EventID)
	set("venue", r.Venue)
	set(attrRefusal, r.Refusal)
	set(attrCommit, commit)
	if len(r.Labels) > 0 {
		m := make(item, len(r.Labels))
		for _, l := range r.Labels {
			m[l.Name] = str(l.Value)
		}
		it["labels"] = &types.AttributeValueMemberM{Value: m}
	}
	if len(r.Operands) > 0 {
		m := make(item, len(r.Operands))
		for _, o := range r.Operands {
			m[o.Text] = float(o.Value)
		}
		it["operands"] = &types.AttributeValueMemberM{Value: m}
	}
	if r.Price != 0 {
		it["price"] = &types.AttributeValueMemberN{Value: r.Price.String()}
	}
	if r.HasSeq {
		it["sequence"] = num(r.Sequence)
	}
	setTime := func(name string, ms int64) {
		if ms != 0 {
			it[name] = str(market.FormatTime(ms * 1e6))
		}
	}
	setTime("received_at", r.Received)
	setTime("stored_at", r.Stored)
	setTime("published_at", r.Published)
	if r.Status == alert.Pending {
		it[attrOwner] = str(r.Owner)
		it[settings.PendingShardKey] = str(strconv.Itoa(shard(r.ID, settings.PendingShards)))
		it[settings.PendingLeaseKey] = num(r.Lease)
	}
	if d.cfg.AlertTTL > 0 && r.Stored != 0 {
		it[settings.AlertsTTL] = num(time.UnixMilli(r.Stored).Add(d.cfg.AlertTTL).Unix())
	}
	return it
}

// parseRecord is the inverse of recordItem. Attributes that it does not know are ignored.
func parseRecord(it item) (alert.Record, error) {
	var errs []error
	keep := func(name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("attribute %s cannot be read: %T", name, err)) // its text quotes the attribute
		}
	}
	whole := func(name string) int64 {
		n, err := integer(it, name)
		if err != nil {
			errs = append(errs, err)
		}
		return n
	}
	instant := func(name string) int64 {
		v := text(it, name)
		if v == "" {
			return 0
		}
		t, err := time.Parse(time.RFC3339Nano, v)
		keep(name, err)
		return t.UnixNano()
	}
	number := func(name string, m item) float64 {
		f, err := strconv.ParseFloat(text(m, name), 64)
		keep(name, err)
		return f
	}
	r := alert.Record{
		Alert: alert.Alert{
			ID: text(it, settings.AlertsSortKey), Symbol: text(it, settings.AlertsPartitionKey), Source: text(it, "source"),
			Rule: text(it, "rule"), Severity: alert.Severity(text(it, "severity")), Summary: text(it, "summary"),
			Time: instant("timestamp"), Value: number("value", it), EventID: text(it, "event_id"),
			Sequence: whole("sequence"), HasSeq: it["sequence"] != nil, Venue: text(it, "venue"),
			RuleVersion: text(it, "rule_version"),
		},
		Times: alert.Times{
			Received: instant("received_at") / 1e6, Stored: instant("stored_at") / 1e6, Published: instant("published_at") / 1e6,
		},
		Status: alert.Status(text(it, attrStatus)), Owner: text(it, attrOwner), Lease: whole(settings.PendingLeaseKey),
		Refusal: text(it, attrRefusal),
	}
	r.Notify = r.Status != alert.Muted
	if m, ok := it["labels"].(*types.AttributeValueMemberM); ok {
		for name := range m.Value {
			r.Labels = append(r.Labels, alert.Label{Name: name, Value: text(m.Value, name)})
		}
		sort.Slice(r.Labels, func(i, j int) bool { return r.Labels[i].Name < r.Labels[j].Name })
	}
	if m, ok := it["operands"].(*types.AttributeValueMemberM); ok {
		for name := range m.Value {
			r.Operands = append(r.Operands, alert.Operand{Text: name, Value: number(name, m.Value)})
		}
		sort.Slice(r.Operands, func(i, j int) bool { return r.Operands[i].Text < r.Operands[j].Text })
	}
	if v := text(it, "price"); v != "" {
		p, err := market.ParseDecimal(v)
		keep("price", err)
		r.Price = p
	}
	if r.ID == "" || r.Symbol == "" || r.Status == "" {
		errs = append(errs, errors.New("it lacks its key or its status"))
	}
	return r, errors.Join(errs...)
}
