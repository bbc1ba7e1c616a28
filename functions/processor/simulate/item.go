package simulate

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// What DynamoDB allows in an item.
const (
	MaxItemBytes         = 400 << 10 // attribute names and values
	MaxPartitionKeyBytes = 2048
	MaxSortKeyBytes      = 1024
	MaxNesting           = 32
)

// item is a set of attributes. A stored item is never changed, only replaced.
type item map[string]types.AttributeValue

// normalize checks a value and gives a deep copy of it, with numbers in DynamoDB's form.
func normalize(v types.AttributeValue, depth int) (types.AttributeValue, error) {
	if depth > MaxNesting {
		return nil, refuse("ValidationException", "Nesting Levels have exceeded supported limits")
	}
	invalid := func(what string) error {
		return refuse("ValidationException", "One or more parameter values were invalid: %s", what)
	}
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		if !utf8.ValidString(v.Value) {
			return nil, invalid("a string is not UTF-8")
		}
		return &types.AttributeValueMemberS{Value: v.Value}, nil
	case *types.AttributeValueMemberN:
		n, err := parseNumber(v.Value)
		return &types.AttributeValueMemberN{Value: n.String()}, err
	case *types.AttributeValueMemberB:
		return &types.AttributeValueMemberB{Value: append([]byte{}, v.Value...)}, nil
	case *types.AttributeValueMemberBOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Value}, nil
	case *types.AttributeValueMemberNULL:
		if !v.Value {
			return nil, invalid("Null attribute value types must have the value of true")
		}
		return &types.AttributeValueMemberNULL{Value: true}, nil
	case *types.AttributeValueMemberL:
		list := make([]types.AttributeValue, len(v.Value))
		for i := range list {
			var err error
			if list[i], err = normalize(v.Value[i], depth+1); err != nil {
				return nil, err
			}
		}
		return &types.AttributeValueMemberL{Value: list}, nil
	case *types.AttributeValueMemberM:
		m, err := normalizeAll(v.Value, depth+1)
		return &types.AttributeValueMemberM{Value: m}, err
	case *types.AttributeValueMemberSS:
		set := slices.Sorted(slices.Values(v.Value))
		if err := checkSet(len(set), len(slices.Compact(slices.Clone(set)))); err != nil {
			return nil, err
		}
		return &types.AttributeValueMemberSS{Value: set}, nil
	case *types.AttributeValueMemberNS:
		set := make([]string, len(v.Value))
		seen := map[string]bool{}
		for i, s := range v.Value {
			n, err := parseNumber(s)
			if err != nil {
				return nil, err
			}
			set[i] = n.String()
			seen[set[i]] = true
		}
		slices.Sort(set)
		return &types.AttributeValueMemberNS{Value: set}, checkSet(len(set), len(seen))
	case *types.AttributeValueMemberBS:
		set := make([][]byte, len(v.Value))
		for i := range set {
			set[i] = append([]byte{}, v.Value[i]...)
		}
		slices.SortFunc(set, bytes.Compare)
		return &types.AttributeValueMemberBS{Value: set}, checkSet(len(set), len(slices.CompactFunc(slices.Clone(set), bytes.Equal)))
	}
	return nil, refuse("ValidationException", "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
}

func checkSet(members, distinct int) error {
	switch {
	case members == 0:
		return refuse("ValidationException", "One or more parameter values were invalid: An set may not be empty")
	case distinct < members:
		return refuse("ValidationException", "One or more parameter values were invalid: Input collection contains duplicates")
	}
	return nil
}

func normalizeAll(in map[string]types.AttributeValue, depth int) (item, error) {
	out := make(item, len(in))
	for _, name := range sorted(in) {
		v, err := normalize(in[name], depth)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// clone is a deep copy. Its values are valid, so normalize cannot fail on them.
func (it item) clone() item {
	if it == nil {
		return nil
	}
	out, _ := normalizeAll(it, 0)
	return out
}

// only keeps the named attributes; nil names keep all.
func (it item) only(names map[string]bool) item {
	if names == nil {
		return it
	}
	out := make(item, len(names))
	for name := range names {
		if v, ok := it[name]; ok {
			out[name] = v
		}
	}
	return out
}

// bytes is the item's size as DynamoDB counts it.
func (it item) bytes() int {
	n := 0
	for name, v := range it {
		n += len(name) + valueBytes(v)
	}
	return n
}

func valueBytes(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return numberBytes(v.Value)
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberL:
		n := 3
		for _, m := range v.Value {
			n += 1 + valueBytes(m)
		}
		return n
	case *types.AttributeValueMemberM:
		return 3 + len(v.Value) + item(v.Value).bytes()
	case *types.AttributeValueMemberSS:
		return len(strings.Join(v.Value, ""))
	case *types.AttributeValueMemberNS:
		n := 0
		for _, m := range v.Value {
			n += numberBytes(m)
		}
		return n
	case *types.AttributeValueMemberBS:
		return len(bytes.Join(v.Value, nil))
	}
	return 1
}

// numberBytes: one byte per two significant digits and one more, another for a minus sign.
func numberBytes(s string) int {
	n, _ := parseNumber(s)
	size := (len(n.digits)+1)/2 + 1
	if n.negative {
		size++
	}
	return size
}

// typeOf names a value's type as DynamoDB does: "S", "N", ...
func typeOf(v types.AttributeValue) types.ScalarAttributeType {
	switch v.(type) {
	case *types.AttributeValueMemberS:
		return "S"
	case *types.AttributeValueMemberN:
		return "N"
	case *types.AttributeValueMemberB:
		return "B"
	case *types.AttributeValueMemberBOOL:
		return "BOOL"
	case *types.AttributeValueMemberNULL:
		return "NULL"
	case *types.AttributeValueMemberL:
		return "L"
	case *types.AttributeValueMemberM:
		return "M"
	case *types.AttributeValueMemberSS:
		return "SS"
	case *types.AttributeValueMemberNS:
		return "NS"
	case *types.AttributeValueMemberBS:
		return "BS"
	}
	return ""
}

// sortKey gives a string that orders values of one scalar type; ok is false for other types.
func sortKey(v types.AttributeValue) (key string, ok bool) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value, true
	case *types.AttributeValueMemberN:
		n, err := parseNumber(v.Value)
		return n.key(), err == nil
	case *types.AttributeValueMemberB:
		return string(v.Value), true
	}
	return "", false
}

// appendValue appends an unambiguous encoding of a value: equal values, and no others, have equal encodings.
func appendValue(b []byte, v types.AttributeValue) []byte {
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(string(typeOf(v)))
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		text(v.Value)
	case *types.AttributeValueMemberN:
		text(v.Value)
	case *types.AttributeValueMemberB:
		text(string(v.Value))
	case *types.AttributeValueMemberBOOL:
		if v.Value {
			return append(b, 1)
		}
		return append(b, 0)
	case *types.AttributeValueMemberL:
		b = binary.AppendUvarint(b, uint64(len(v.Value)))
		for _, m := range v.Value {
			b = appendValue(b, m)
		}
	case *types.AttributeValueMemberM:
		return appendItem(b, v.Value)
	case *types.AttributeValueMemberSS:
		b = binary.AppendUvarint(b, uint64(len(v.Value)))
		for _, m := range v.Value {
			text(m)
		}
	case *types.AttributeValueMemberNS:
		b = binary.AppendUvarint(b, uint64(len(v.Value)))
		for _, m := range v.Value {
			text(m)
		}
	case *types.AttributeValueMemberBS:
		b = binary.AppendUvarint(b, uint64(len(v.Value)))
		for _, m := range v.Value {
			text(string(m))
		}
	}
	return b
}

func appendItem(b []byte, it map[string]types.AttributeValue) []byte {
	b = binary.AppendUvarint(b, uint64(len(it)))
	for _, name := range slices.Sorted(maps.Keys(it)) {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		b = appendValue(b, it[name])
	}
	return b
}

func equal(a, b types.AttributeValue) bool {
	return bytes.Equal(appendValue(nil, a), appendValue(nil, b))
}
