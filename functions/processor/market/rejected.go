package market

import "time"

// Rejected is what goes to the rejects queue: a refused event, a late one that was a retry, or an alert that could not
// be published, with what an operator needs to explain or redrive it.
type Rejected struct {
	Body            string // as received
	Reason          Reason
	OriginMessageID string
	Index           int // the event's position in its message
	FirstReceived   time.Time
	ReceiveCount    int
	Format          string // the dialect, "" = canonical
	Group           string // the message group, "" on a standard queue
}

// The reasons for which something is kept in the rejects queue that was not refused by Decode.
const (
	LateRetry    Reason = "late"          // later than the allowed lateness, and the message was a retry
	AlertRefused Reason = "alert_refused" // SNS refuses the alert for good
)

// Delay hides one received message until After has passed.
type Delay struct {
	ReceiptHandle string
	After         time.Duration
}
