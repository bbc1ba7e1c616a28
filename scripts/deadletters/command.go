package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"

	"example.com/market-data-pipeline/functions/processor/market"
)

// command is one run of the program.
type command struct {
	options
	api            api
	now            func() time.Time
	stdout, stderr io.Writer

	table  *tabwriter.Writer // of list
	found  map[string]bool   // ids that were asked for
	count  map[string]int    // rows by what is done with them
	split  map[string]bool   // groups of which an earlier message stays and a later one moves
	left   map[string]bool   // groups of which a message stays
	behind bool              // refused events move
	write  error             // of stdout
}

// row is a message in the output. The names are those of --json.
type row struct {
	Action string `json:"action,omitempty"` // of redrive and purge: "move", "purge", "stay", and "moved", "purged" once done
	Why    string `json:"why,omitempty"`    // it stays

	ID            string        `json:"id"`
	SecondID      string        `json:"second_id,omitempty"` // of a body kept in two messages
	Part          string        `json:"part,omitempty"`      // of a half whose other half was not seen
	Queue         string        `json:"queue"`
	Reason        market.Reason `json:"reason"`
	Symbols       []string      `json:"symbols"`
	Group         string        `json:"group,omitempty"`
	Origin        string        `json:"origin_message_id"`
	Index         *int          `json:"index,omitempty"` // rejects
	Format        string        `json:"format,omitempty"`
	FirstReceived *time.Time    `json:"first_received,omitempty"`
	ReceiveCount  int           `json:"receive_count"`
	Sent          time.Time     `json:"sent"` // to the queue that it is in; of a standard dead-letter queue: to the pipeline
	AgeSeconds    int64         `json:"age_seconds"`
	Bytes         int           `json:"bytes"`
	NewID         string        `json:"new_id,omitempty"` // once moved

	*explanation
}

// explanation is what explain adds.
type explanation struct {
	Rule    string    `json:"rule"`
	Remedy  string    `json:"remedy"`
	Good    int       `json:"good"` // events, decoded again
	Refused []refusal `json:"refused,omitempty"`
	Body    *string   `json:"body,omitempty"`
}

type refusal struct {
	Index  int           `json:"index"`
	Reason market.Reason `json:"reason"`
	Field  string        `json:"field,omitempty"`
	Detail string        `json:"detail,omitempty"` // it can quote a value, so only with the body
}

// run runs the command over the queues that its filters leave.
func (c *command) run(ctx context.Context) error {
	c.found, c.count, c.split, c.left = map[string]bool{}, map[string]int{}, map[string]bool{}, map[string]bool{}
	if c.command == "list" && !c.json {
		c.table = tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		c.printf(c.table, "ID\tQUEUE\tREASON\tSYMBOLS\tGROUP\tFIRST RECEIVED\tRECEIVED\tAGE\n")
	}
	for _, q := range []struct{ name, url string }{{deadLetters, c.urls.dead}, {rejects, c.urls.rejects}} {
		if c.queue != "" && c.queue != q.name || c.reason != "" && (c.reason == exhausted) != (q.name == deadLetters) || c.complete() {
			continue
		}
		w := &walk{api: c.api, name: q.name, url: q.url, max: c.max, now: c.now, note: c.note}
		if err := w.run(ctx, func(ctx context.Context, letters []*letter) error { return c.visit(ctx, w, letters) }); err != nil {
			return err
		}
	}
	c.summary()
	var missing []string
	for _, id := range c.ids {
		if !c.found[id] {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not found: %s: gone, hidden by another look, kept back by a filter, or behind the first ten of its group", strings.Join(missing, " "))
	}
	return c.write
}

// note tells what is no result.
func (c *command) note(format string, args ...any) {
	fmt.Fprintf(c.stderr, "deadletters: "+format+"\n", args...)
}

func (c *command) printf(w io.Writer, format string, args ...any) {
	if _, err := fmt.Fprintf(w, format, args...); err != nil && c.write == nil {
		c.write = fmt.Errorf("writing the output: %w", err)
	}
}

// complete tells whether all that was asked for by id was found.
func (c *command) complete() bool { return len(c.ids) > 0 && len(c.found) == len(c.ids) }

// asked tells whether the filters leave l.
func (c *command) asked(l *letter) bool {
	if c.reason != "" && c.reason != l.reason {
		return false
	}
	if len(c.ids) > 0 {
		one := false
		for _, p := range l.parts {
			if slices.Contains(c.ids, p.id) {
				c.found[p.id], one = true, true
			}
		}
		if !one {
			return false
		}
	}
	return c.symbol == "" || slices.Contains(l.symbols(c.now()), c.symbol)
}

func (c *command) visit(ctx context.Context, w *walk, letters []*letter) error {
	var err error
	switch c.command {
	case "list":
		for _, l := range letters {
			if c.asked(l) {
				c.list(l)
			}
		}
	case "explain":
		for _, l := range letters {
			if c.asked(l) {
				c.explain(l)
			}
		}
	case "redrive":
		err = c.redrive(ctx, w, letters)
	case "purge":
		err = c.purge(ctx, w, letters)
	}
	// Nobody would know what is done from here on.
	if err == nil && c.write != nil {
		err = c.write
	}
	if err == nil && c.complete() {
		err = errEnough
	}
	return err
}

// redrive moves what is asked for, one message after the other: sent first, deleted then. An error ends it, for what is
// behind a message of a group must not overtake it.
func (c *command) redrive(ctx context.Context, w *walk, letters []*letter) error {
	for i, l := range letters {
		if !c.asked(l) {
			c.left[l.group] = true
			continue
		}
		if why := l.obstacle(c.reason, c.now()); why != "" {
			c.left[l.group] = true
			c.act("stay", l, why, "")
			continue
		}
		if w.name == deadLetters && isFIFO(w.url) && c.left[l.group] {
			c.split[l.group] = true
		}
		c.behind = c.behind || w.name == rejects
		if !c.execute {
			c.act("move", l, "", "")
			continue
		}
		if c.over(l, letters[i:]) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		id, err := c.move(ctx, w, l)
		if err != nil {
			return fmt.Errorf("message %s: %w", l.id(), err)
		}
		l.fate = gone
		c.act("moved", l, "", id)
	}
	return nil
}

// over tells whether l may become visible at any time, to another redrive, too. Then rest is to be received again.
func (c *command) over(l *letter, rest []*letter) bool {
	if c.now().Before(l.until) {
		return false
	}
	for _, l := range rest {
		l.fate = unseen
	}
	return true
}

// move sends l and then deletes it. Once begun it is not interrupted.
func (c *command) move(ctx context.Context, w *walk, l *letter) (newID string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.until.Add(leaseMargin).Sub(c.now()))
	defer cancel()
	out, err := c.api.SendMessage(ctx, l.compose(c.urls.market, c.now()))
	if err != nil {
		return "", fmt.Errorf("sending to %s, nothing is lost: run it again: %w", queueName(c.urls.market), err)
	}
	if err := w.remove(ctx, l); err != nil {
		return "", fmt.Errorf("it was sent, and is left behind: run it again, it is recognised as the same: %w", err)
	}
	return aws.ToString(out.MessageId), nil
}

// purge deletes what is asked for.
func (c *command) purge(ctx context.Context, w *walk, letters []*letter) error {
	var batch []*letter
	for _, l := range letters {
		if c.asked(l) {
			batch = append(batch, l)
		}
	}
	if !c.execute {
		for _, l := range batch {
			c.act("purge", l, "", "")
		}
		return nil
	}
	for rest := batch; len(rest) > 0; {
		chunk := rest[:min(len(rest), maxEntries/2)] // a letter may be two messages
		for _, l := range chunk {
			if c.over(l, rest) {
				return nil
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.remove(ctx, chunk...); err != nil {
			return fmt.Errorf("run it again for the rest: %w", err)
		}
		for _, l := range chunk {
			l.fate = gone
			c.act("purged", l, "", "")
		}
		rest = rest[len(chunk):]
	}
	return nil
}

func (c *command) row(l *letter) row {
	r := row{
		ID: l.id(), Part: l.part, Queue: l.queue, Reason: l.reason, Symbols: l.symbols(c.now()), Group: l.group, Origin: l.origin, Format: l.format,
		ReceiveCount: l.receiveCount, Sent: l.sent, AgeSeconds: int64(c.now().Sub(l.sent) / time.Second), Bytes: len(l.body),
	}
	if len(l.parts) > 1 {
		r.SecondID = l.parts[1].id
	}
	if l.queue == rejects {
		r.Index = &l.index
	}
	if !l.firstReceived.IsZero() {
		r.FirstReceived = &l.firstReceived
	}
	return r
}

func (c *command) list(l *letter) {
	c.count[l.queue]++
	r := c.row(l)
	if c.json {
		c.printJSON(r)
		return
	}
	c.printf(c.table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.ID, r.Queue, printable(string(r.Reason)), short(r.Symbols), printable(or(r.Group, "-")),
		moment(r.FirstReceived), r.ReceiveCount, age(r.AgeSeconds))
}

// act tells what is done, or would be, with l.
func (c *command) act(action string, l *letter, why, newID string) {
	c.count[action]++
	r := c.row(l)
	r.Action, r.Why, r.NewID = action, why, newID
	if c.json {
		c.printJSON(r)
		return
	}
	words := map[string]string{"move": "would move", "purge": "would purge", "stay": "stays"}
	line := fmt.Sprintf("%-11s  %s  %s  %s  %s", or(words[action], action), r.ID, r.Queue, printable(string(r.Reason)), short(r.Symbols))
	if r.Group != "" {
		line += "  group " + printable(r.Group)
	}
	if newID != "" {
		line += "  as " + newID
	}
	if why != "" {
		line += ": " + why
	}
	c.printf(c.stdout, "%s\n", line)
}

func (c *command) printJSON(r row) {
	b, err := json.Marshal(r)
	if err != nil {
		c.write = errors.Join(c.write, err)
		return
	}
	c.printf(c.stdout, "%s\n", b)
}

func (c *command) explain(l *letter) {
	r := c.row(l)
	known := rules[l.reason]
	r.explanation = &explanation{Rule: or(known.text, "this program does not know the reason: does the stack run newer code?"), Remedy: or(known.remedy, "explain it with the code that is deployed")}
	if l.canonical() && l.part == "" && l.reason != market.AlertRefused {
		good, refused := l.decode(c.now())
		r.Good = len(good)
		for i := range refused {
			f := &refused[i]
			if !c.body {
				f.Detail = ""
			}
			r.Refused = append(r.Refused, refusal{f.Index, f.Reason, f.Field, f.Detail})
		}
	}
	if c.body {
		r.Body = &l.body
	}
	if c.json {
		c.printJSON(r)
		return
	}
	line := func(name, format string, args ...any) {
		c.printf(c.stdout, "%-15s%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("message", "%s in %s, %d bytes, %s old", r.ID, r.Queue, r.Bytes, age(r.AgeSeconds))
	if r.SecondID != "" {
		line("second half", "%s", r.SecondID)
	}
	if r.Part != "" {
		line("part", "%s; the other half was not seen", r.Part)
	}
	line("reason", "%s", or(string(r.Reason), "none is given"))
	line("rule", "%s", r.Rule)
	line("symbols", "%s", or(strings.Join(r.Symbols, " "), "-"))
	line("group", "%s", or(r.Group, "-"))
	if r.Format != "" {
		line("format", "%s", r.Format)
	}
	origin := r.Origin
	if r.Index != nil {
		origin += fmt.Sprintf(", event %d of it", *r.Index)
	}
	line("origin", "%s", origin)
	line("first received", "%s", moment(r.FirstReceived))
	line("received", "%s", counted(r.ReceiveCount, "time"))
	for _, text := range c.findings(l, r.explanation) {
		line("decoded again", "%s", text)
	}
	for _, text := range c.advice(l, r.explanation) {
		line("what to do", "%s", text)
	}
	if c.body {
		c.printf(c.stdout, "\n%s\n", printable(l.body))
	}
}

// maxFindings bounds the refused events that are shown in words; --json has all.
const maxFindings = 20

// findings tell what the decoder says to the body.
func (c *command) findings(l *letter, e *explanation) []string {
	switch {
	case !l.canonical():
		return []string{fmt.Sprintf("not possible: this program does not know the format %q", l.format)}
	case e.Good+len(e.Refused) == 0:
		return nil
	}
	out := []string{fmt.Sprintf("%s good, %d refused", areCounted(e.Good, "event"), len(e.Refused))}
	for i, r := range e.Refused {
		if i == maxFindings {
			return append(out, fmt.Sprintf("and %d more: --json has all", len(e.Refused)-i))
		}
		text := fmt.Sprintf("event %d: %s", r.Index, r.Reason)
		if r.Field != "" {
			text += " in " + r.Field
		}
		if r.Detail != "" {
			text += ": " + r.Detail
		}
		out = append(out, text)
	}
	return out
}

func (c *command) advice(l *letter, e *explanation) []string {
	var out []string
	if l.queue == rejects {
		out = append(out, e.Remedy)
		if why := l.obstacle(l.reason, c.now()); why == "" && l.reason != market.LateRetry && l.reason != market.UnknownFormat {
			out = append(out, "this program's decoder accepts it by now: redrive "+l.id())
		} else if why != "" && l.reason != market.AlertRefused {
			out = append(out, "a redrive leaves it here: "+why)
		}
		return out
	}
	if len(e.Refused) > 0 {
		out = append(out, "refused events are no cause: they go to the rejects queue when their message succeeds")
	}
	log := or(c.urls.logGroup, "the stack's output LogGroupName")
	out = append(out, fmt.Sprintf("the events cannot tell the cause, the function's log can. In CloudWatch Logs Insights over %s: filter message_id = %q | sort @timestamp", log, l.id()),
		"\"message failed\" has the error; if it has only \"message deferred\", an earlier message of its group failed, or the time ran out",
		"mend the cause, then redrive the group's messages together: redrive "+l.id()+" moves this one alone")
	if why := l.obstacle("", c.now()); why != "" {
		out = append(out, "a redrive leaves it here: "+why)
	}
	return out
}

// summary closes the output. What is no result goes to standard error, so that --json stays JSON.
func (c *command) summary() {
	n := c.count
	switch c.command {
	case "list":
		if c.table != nil {
			if err := c.table.Flush(); err != nil && c.write == nil {
				c.write = fmt.Errorf("writing the output: %w", err)
			}
		}
		c.note("%s, %s", counted(n[deadLetters], "dead letter"), counted(n[rejects], "reject"))
	case "redrive", "purge":
		if len(c.split) > 0 {
			c.note("of %s a later message moves while an earlier one stays: what stays will be late when it follows", counted(len(c.split), "group"))
		}
		if c.behind {
			c.note("refused events follow what was sent since: rules that look back may count them as late")
		}
		done := n["move"] + n["moved"] + n["purge"] + n["purged"]
		verb := map[string]string{"redrive": "moved", "purge": "purged"}[c.command]
		switch {
		case c.execute && c.command == "redrive":
			c.note("%s %s, %d stay", counted(done, "message"), verb, n["stay"])
		case c.execute:
			c.note("%s %s", counted(done, "message"), verb)
		case done > 0:
			c.note("%s would be %s, %d stay. Nothing was done: --yes does it", counted(done, "message"), verb, n["stay"])
		default:
			c.note("nothing to be %s, %d stay", verb, n["stay"])
		}
	}
}

// printable is s without what a terminal would take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// short is a list of symbols for one column.
func short(symbols []string) string {
	const shown = 3
	if len(symbols) > shown {
		return strings.Join(symbols[:shown], ",") + fmt.Sprintf(",+%d", len(symbols)-shown)
	}
	return or(strings.Join(symbols, ","), "-")
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func age(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d/time.Minute%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d/time.Second%60)
	}
	return d.String()
}

func counted(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

func areCounted(n int, of string) string {
	if n == 1 {
		return "1 " + of + " is"
	}
	return fmt.Sprintf("%d %ss are", n, of)
}
