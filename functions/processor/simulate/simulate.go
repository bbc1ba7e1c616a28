// Package simulate holds in-memory SQS, DynamoDB and SNS with the method signatures of the AWS SDK's clients, and
// Lambda's event source mapping for SQS. The local run, the tests and the simulator run the real adapters on them
// through the adapters' own small interfaces. It is never linked into the Lambda.
//
// They enforce the limits and rules of the services that an adapter can run into, and answer with the SDK's own error
// types, so that errors.As works as on the real clients (the smithy.OperationError around them is absent).
//
// Everything is deterministic and safe for concurrent use. Time comes from the function given to the constructor, ids
// from a counter; nothing here starts a goroutine, sleeps, or draws a random number. A method never blocks and
// fails at once with the context's error where the context is done. Faults are injected by wrapping the methods.
package simulate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/smithy-go"
)

// Region and Account are those of every ARN and URL made here.
const (
	Region  = "us-east-1"
	Account = "123456789012"
)

// Limits that SQS and SNS share.
const (
	MaxBatchEntries = 10  // entries in one batch request
	maxBatchIDRunes = 80  // characters of a batch entry's id
	maxTokenLength  = 128 // message group id, deduplication id
	maxNameLength   = 256 // name, and type, of a message attribute
)

// refuse is an API error without a type of its own in the SDK.
func refuse(code, format string, args ...any) *smithy.GenericAPIError {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// failure splits an error into the fields of a batch's failed entry. All errors of entries are the sender's fault.
func failure(err error) (code, message string) {
	if e, ok := err.(smithy.APIError); ok {
		return e.ErrorCode(), e.ErrorMessage()
	}
	return "InternalError", err.Error()
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// uuid is the default id of the n-th message: constant but for n, in the form of the real ones.
func uuid(n uint64) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// validBatchID tells whether id has 1-80 alphanumeric characters, hyphens and underscores.
func validBatchID(id string) bool {
	return id != "" && len(id) <= maxBatchIDRunes && !strings.ContainsFunc(id, func(r rune) bool {
		return !alphanumeric(r) && r != '-' && r != '_'
	})
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// validToken tells whether s has 1-128 visible ASCII characters, as group and deduplication ids must.
func validToken(s string) bool {
	return s != "" && len(s) <= maxTokenLength && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// validText tells whether s has only the characters that SQS accepts.
func validText(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(s) && !strings.ContainsAny(s, "\uFFFE\uFFFF")
}

// attributeName explains what is wrong with the name of a message attribute; the rules of SQS and SNS are the same.
func attributeName(name string) string {
	lower := strings.ToLower(name)
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxNameLength:
		return fmt.Sprintf("has more than %d characters", maxNameLength)
	case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
		return "starts with a reserved prefix"
	case name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, ".."):
		return "starts or ends with a period or has two in a row"
	case strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && r != '_' && r != '-' && r != '.' }):
		return "has a character other than letters, digits, _, - and ."
	}
	return ""
}

// done is the context's error, as the SDK gives it for a request that it cancels.
func done(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &smithy.CanceledError{Err: err}
	}
	return nil
}
