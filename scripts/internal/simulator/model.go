package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// model is what must come of what was sent: every message once, one after the other, through the engine alone.
type model struct {
	alerts  map[string]alert.Alert  // by id
	states  map[string]*alert.State // by series
	refused map[string]market.Reason
	late    int
	volume  map[string]float64 // of all trades that are accepted, by series
}

// apply makes the model. The clock comes at the end: it changes nothing but the moment.
func apply(s *Scenario, messages []sent) (*model, error) {
	m := &model{alerts: map[string]alert.Alert{}, states: map[string]*alert.State{}, refused: map[string]market.Reason{}, volume: map[string]float64{}}
	engine := s.program(false).engine
	step := func(e *market.Event) {
		p := engine.Program(e.Symbol, e.Source)
		if m.states[e.Series()] == nil {
			m.states[e.Series()] = p.NewState()
		}
		fired, outcome := p.Step(m.states[e.Series()], e, nil)
		for _, a := range fired {
			m.alerts[a.ID] = a
		}
		if outcome == alert.Late {
			m.late++
		}
	}
	seen := map[string]bool{}
	for _, message := range messages {
		if seen[message.origin] {
			continue
		}
		seen[message.origin] = true
		events, refused := market.Decode(nil, message.body, message.at, settings.DefaultClockSkew)
		for _, r := range refused {
			m.refused[r.Raw] = r.Reason
		}
		for i := range events {
			step(&events[i])
			if events[i].Kind == market.Trade {
				m.volume[events[i].Series()] += events[i].Size.Float()
			}
		}
	}
	for series, state := range m.states {
		symbol, source, _ := strings.Cut(series, "|")
		for n := 0; ; n++ {
			at, ok := state.Due()
			if !ok {
				break
			}
			if n == 1000 {
				return nil, fmt.Errorf("series %s: the clock never ends", series)
			}
			step(&market.Event{Kind: market.Clock, Symbol: symbol, Source: source, Time: at})
		}
	}
	return m, nil
}

// refuses tells whether SNS refuses the message of an alert for good.
func (w *cloud) refuses(message string) bool {
	return w.scenario.Refuse && w.refusesAlert(published(message))
}

func (w *cloud) refusesAlert(id string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return w.scenario.Refuse && h.Sum32()%8 == 0
}

// published is the id of the alert in an SNS message.
func published(message string) string {
	var protocols struct{ Default string }
	var a struct {
		ID string `json:"alert_id"`
	}
	if err := json.Unmarshal([]byte(message), &protocols); err == nil {
		err = json.Unmarshal([]byte(protocols.Default), &a)
		if err == nil {
			return a.ID
		}
	}
	panic("an SNS message that is no alert")
}

// check compares what the run left with the model.
func (w *cloud) check() {
	m, err := apply(&w.scenario, w.sent)
	if err != nil {
		w.violate("model: %v", err)
		return
	}
	s := &w.scenario
	store := ledger.NewDynamoDB(w.db, ledger.Config{AlertsTable: alertsTable, StateTable: stateTable})
	stored := map[string]alert.Record{}
	for _, it := range w.scan(alertsTable) {
		key := alert.Key{Symbol: text(it, settings.AlertsPartitionKey), ID: text(it, settings.AlertsSortKey)}
		for k, r := range must(store.Records(context.Background(), []alert.Key{key})) {
			if _, twice := stored[k.ID]; twice {
				w.violate("alert %s is stored twice", k.ID)
			}
			stored[k.ID] = r
		}
	}
	publishes := map[string]int{}
	for _, n := range w.sns.Published(w.topic) {
		publishes[published(n.Message)]++
	}
	w.checkAlerts(stored, publishes)
	w.checkRejects(m, stored)
	if n, _, _ := w.sqs.Depth(w.dead); n > 0 {
		w.violate("%d dead letters", n)
	}

	exact := s.Delivery == settings.Ordered && !s.Redrive
	if exact {
		w.compareAlerts(m, stored)
		w.compareStates(m, store)
	}
	if s.Rules == "history" && s.Deployment == NoDeployment {
		w.compareVolumes(m, stored)
	}
	if w.faults == 0 && s.Deployment != NewFormat && !w.delivery() && w.failedReturns > 0 {
		w.violate("%d messages were returned without a fault", w.failedReturns)
	}
}

// delivery tells whether the scenario repeats deliveries, so that one invocation may wait for the lease of another.
func (w *cloud) delivery() bool {
	return slices.ContainsFunc(w.scenario.Faults, func(f Fault) bool { return f.Kind > Kinds }) || w.scenario.Delivery == settings.Unordered
}

// checkAlerts: each stored alert is published at least once, and at most once more per fault, or not at all where it
// must not be.
func (w *cloud) checkAlerts(stored map[string]alert.Record, publishes map[string]int) {
	for id, n := range publishes {
		if _, ok := stored[id]; !ok {
			w.violate("alert %s is published and not stored", id)
		}
		if n > 1+w.faults {
			w.violate("alert %s is published %d times with %d faults", id, n, w.faults)
		}
	}
	for id, r := range stored {
		want, atLeast := alert.Sent, 1
		switch {
		case r.Rule == "Dark":
			want, atLeast = alert.Muted, 0
		case w.refusesAlert(id):
			want, atLeast = alert.Failed, 0
		}
		if n := publishes[id]; r.Status != want || n < atLeast || atLeast == 0 && n > 0 {
			w.violate("alert %s of rule %s is %s, want %s, and is published %d times", id, r.Rule, r.Status, want, n)
		}
	}
}

// checkRejects: every refused event and every alert that SNS refuses is kept with its reason, and nothing else but late
// events.
func (w *cloud) checkRejects(m *model, stored map[string]alert.Record) {
	kept := map[string]bool{}
	for _, message := range w.sqs.Messages(w.rejects) {
		body, reason := aws.ToString(message.Body), market.Reason(aws.ToString(message.MessageAttributes[queue.AttrReason].StringValue))
		switch reason {
		case market.AlertRefused:
			a, err := alert.ParseAlert([]byte(body))
			if err != nil || !w.refusesAlert(a.ID) {
				w.violate("alert %s is in the rejects queue", a.ID)
			}
			kept[a.ID] = true
		case market.LateRetry:
			if w.scenario.Delivery == settings.Ordered && !w.scenario.Redrive && m.late == 0 {
				w.violate("an event became late: %s", body)
			}
		default:
			if want, ok := m.refused[body]; !ok || want != reason {
				w.violate("the rejects queue has %q with reason %s, want %s", body, reason, want)
			}
			kept[body] = true
		}
	}
	for body, reason := range m.refused {
		if !kept[body] {
			w.violate("the event %s, refused for %s, is not kept", body, reason)
		}
	}
	for id := range stored {
		if w.refusesAlert(id) && stored[id].Status == alert.Failed && !kept[id] {
			w.violate("alert %s, which SNS refuses, is not kept", id)
		}
	}
}

// compareAlerts: the alerts are the model's, to the last operand.
func (w *cloud) compareAlerts(m *model, stored map[string]alert.Record) {
	text := func(a alert.Alert) string { return string(a.AppendJSON(nil, alert.Times{}, "")) }
	for _, id := range slices.Sorted(maps.Keys(m.alerts)) {
		r, ok := stored[id]
		if !ok {
			w.violate("lost: %s", text(m.alerts[id]))
		} else if got, want := text(r.Alert), text(m.alerts[id]); got != want {
			w.violate("alert differs:\n got %s\nwant %s", got, want)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(stored)) {
		if _, ok := m.alerts[id]; !ok && stored[id].Rule != "Extra" {
			w.violate("not in the model: %s", text(stored[id].Alert))
		}
	}
}

// compareStates: what was applied, and how often, is what the states say.
func (w *cloud) compareStates(m *model, store *ledger.DynamoDB) {
	if w.scenario.Rules != "history" || w.scenario.Deployment != NoDeployment {
		return
	}
	engine := w.scenario.program(false).engine
	for _, series := range slices.Sorted(maps.Keys(m.states)) {
		states, _, err := store.ReadStates(context.Background(), []string{series})
		if err != nil {
			w.violate("state of %s: %v", series, err)
			continue
		}
		symbol, source, _ := strings.Cut(series, "|")
		p := engine.Program(symbol, source)
		state := p.NewState()
		if b := states[series].Engine; len(b) > 0 {
			if state, err = p.Decode(b); err != nil {
				w.violate("state of %s: %v", series, err)
				continue
			}
		}
		// Which clocks came is a matter of time, so the last one is the same for both.
		clock := market.Event{Kind: market.Clock, Symbol: symbol, Source: source, Time: w.start.Add(48 * time.Hour).UnixNano()}
		p.Step(state, &clock, nil)
		p.Step(m.states[series], &clock, nil)
		if got, want := state.Append(nil), m.states[series].Append(nil); !bytes.Equal(got, want) {
			w.violate("state of %s differs:\n got %x\nwant %x", series, got, want)
		}
	}
}

// compareVolumes: every accepted trade is in a bar, once; a late one is not.
func (w *cloud) compareVolumes(m *model, stored map[string]alert.Record) {
	got := map[string]float64{}
	for _, r := range stored {
		for _, o := range r.Operands {
			if (r.Rule == "Odd" || r.Rule == "Even") && o.Text == "volume" {
				got[r.Symbol+"|"+r.Source] += o.Value
			}
		}
	}
	s := &w.scenario
	mayBeLate := s.Redrive || s.Lateness < time.Minute || len(s.Outages) > 0 || s.Skew > 0 || slices.ContainsFunc(s.Faults, func(f Fault) bool {
		return f.Kind == MuchLater || f.Kind == FreezeBefore || f.Kind == FreezeAfter
	})
	for series, want := range m.volume {
		if got[series] > want || got[series] < want && !mayBeLate {
			w.violate("series %s: a volume of %v was applied, want %v", series, got[series], want)
		}
	}
}
