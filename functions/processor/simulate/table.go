package simulate

import (
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Key is an attribute of a key. Type is S, N or B; "" = S.
type Key struct {
	Name string
	Type types.ScalarAttributeType
}

// IndexConfig is a global secondary index: sparse, an item without the index's key attributes is not in it.
type IndexConfig struct {
	Name         string
	PartitionKey Key
	SortKey      Key                  // zero = none
	Projection   types.ProjectionType // "" = ALL
	NonKey       []string             // the attributes of projection INCLUDE
}

// TableConfig is a table that is paid on demand.
type TableConfig struct {
	Name         string
	PartitionKey Key
	SortKey      Key // zero = none
	Indexes      []IndexConfig
	TTLAttribute string // Unix seconds; "" = items do not expire
}

type row struct {
	id   string // encoded primary key
	item item
	size int
}

type entry struct {
	sort string
	row  *row
}

// index is a table's own order, or that of a secondary index: partitions of entries by sort key, then by primary key.
type index struct {
	IndexConfig
	partitions map[string][]entry
	order      []string // of partitions; nil = to be sorted
}

type table struct {
	TableConfig
	rows      map[string]*row
	primary   *index
	secondary []*index
}

func newTable(c TableConfig) *table {
	typed := func(k Key) Key {
		if k.Type == "" {
			k.Type = types.ScalarAttributeTypeS
		}
		return k
	}
	c.PartitionKey, c.SortKey = typed(c.PartitionKey), typed(c.SortKey)
	t := &table{TableConfig: c, rows: map[string]*row{}}
	t.primary = &index{partitions: map[string][]entry{}, IndexConfig: IndexConfig{PartitionKey: c.PartitionKey, SortKey: c.SortKey}}
	for _, i := range c.Indexes {
		i.PartitionKey, i.SortKey = typed(i.PartitionKey), typed(i.SortKey)
		t.secondary = append(t.secondary, &index{IndexConfig: i, partitions: map[string][]entry{}})
	}
	return t
}

func (x *index) keys() []Key {
	if x.SortKey.Name == "" {
		return []Key{x.PartitionKey}
	}
	return []Key{x.PartitionKey, x.SortKey}
}

// projected is what the index holds of an item; nil = all.
func (x *index) projected(t *table) map[string]bool {
	if x == t.primary || x.Projection == "" || x.Projection == types.ProjectionTypeAll {
		return nil
	}
	names := map[string]bool{}
	for _, k := range slices.Concat(t.primary.keys(), x.keys()) {
		names[k.Name] = true
	}
	if x.Projection == types.ProjectionTypeInclude {
		for _, n := range x.NonKey {
			names[n] = true
		}
	}
	return names
}

// place gives the item's partition and sort key; ok is false where the item is not in the index.
func (x *index) place(it item) (partition, sort string, ok bool) {
	partition, ok = sortKey(it[x.PartitionKey.Name])
	if ok && x.SortKey.Name != "" {
		sort, ok = sortKey(it[x.SortKey.Name])
	}
	return partition, sort, ok
}

// search finds the first entry that is not before (sort, id).
func search(entries []entry, at, id string) int {
	return sort.Search(len(entries), func(i int) bool {
		e := entries[i]
		return e.sort > at || e.sort == at && e.row.id >= id
	})
}

func (x *index) insert(r *row) {
	partition, at, ok := x.place(r.item)
	if !ok {
		return
	}
	entries, ok := x.partitions[partition]
	if !ok {
		x.order = nil
	}
	x.partitions[partition] = slices.Insert(entries, search(entries, at, r.id), entry{at, r})
}

func (x *index) remove(r *row) {
	partition, at, ok := x.place(r.item)
	if !ok {
		return
	}
	entries := x.partitions[partition]
	i := search(entries, at, r.id)
	if entries = slices.Delete(entries, i, i+1); len(entries) == 0 {
		delete(x.partitions, partition)
		x.order = nil
		return
	}
	x.partitions[partition] = entries
}

// sortedPartitions is the order of scans.
func (x *index) sortedPartitions() []string {
	if x.order == nil {
		x.order = sorted(x.partitions)
	}
	return x.order
}

func (t *table) store(id string, it item) {
	old, r := t.rows[id], &row{id, it, it.bytes()}
	t.rows[id] = r
	if old == nil {
		t.primary.insert(r)
	} else {
		partition, at, _ := t.primary.place(it)
		entries := t.primary.partitions[partition]
		entries[search(entries, at, id)].row = r
	}
	for _, x := range t.secondary {
		if old != nil {
			x.remove(old)
		}
		x.insert(r)
	}
}

func (t *table) drop(id string) {
	r := t.rows[id]
	if r == nil {
		return
	}
	delete(t.rows, id)
	t.primary.remove(r)
	for _, x := range t.secondary {
		x.remove(r)
	}
}

// get gives the stored item, nil where there is none. It must not be changed, nor handed out without clone.
func (t *table) get(id string) item {
	if r := t.rows[id]; r != nil {
		return r.item
	}
	return nil
}

// identify gives the encoded primary key of an item that has a valid one.
func (t *table) identify(it item) (id string, err error) {
	var b []byte
	for i, k := range t.primary.keys() {
		v := it[k.Name]
		if v == nil {
			return "", refuse("ValidationException", "One or more parameter values were invalid: Missing the key %s in the item", k.Name)
		}
		if typeOf(v) != k.Type {
			return "", refuse("ValidationException", "One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", k.Name, k.Type, typeOf(v))
		}
		max, which := MaxPartitionKeyBytes, "hashkey"
		if i == 1 {
			max, which = MaxSortKeyBytes, "rangekey"
		}
		switch n := valueBytes(v); {
		case n == 0:
			return "", refuse("ValidationException", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", k.Name)
		case n > max:
			return "", refuse("ValidationException", "One or more parameter values were invalid: Size of %s has exceeded the maximum size limit of %d bytes", which, max)
		}
		b = appendValue(b, v)
	}
	return string(b), nil
}

// keyOf checks a request's Key: the key attributes and no others.
func (t *table) keyOf(key map[string]types.AttributeValue) (id string, it item, err error) {
	if it, err = normalizeAll(key, 0); err != nil {
		return "", nil, err
	}
	keys := t.primary.keys()
	for _, k := range keys {
		if v := it[k.Name]; v == nil || typeOf(v) != k.Type || len(it) != len(keys) {
			return "", nil, refuse("ValidationException", "The provided key element does not match the schema")
		}
	}
	id, err = t.identify(it)
	return id, it, err
}

// check refuses an item that cannot be stored.
func (t *table) check(it item) error {
	if it.bytes() > MaxItemBytes {
		return refuse("ValidationException", "Item size has exceeded the maximum allowed size")
	}
	for _, x := range t.secondary {
		for i, k := range x.keys() {
			v := it[k.Name]
			switch {
			case v == nil:
			case typeOf(v) != k.Type:
				return refuse("ValidationException", "One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", k.Name, k.Type, typeOf(v), x.Name)
			case valueBytes(v) == 0:
				return refuse("ValidationException", "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: %s, IndexKey: %s", x.Name, k.Name)
			case i == 0 && valueBytes(v) > MaxPartitionKeyBytes || i == 1 && valueBytes(v) > MaxSortKeyBytes:
				return refuse("ValidationException", "One or more parameter values were invalid: Size of secondary index key %s has exceeded the maximum size limit, IndexName: %s", k.Name, x.Name)
			}
		}
	}
	return nil
}

// interval is a range of sort keys: the entries that are neither before nor after it.
type interval struct{ before, after func(sort string) bool }

func (r interval) of(entries []entry) []entry {
	from := sort.Search(len(entries), func(i int) bool { return !r.before(entries[i].sort) })
	to := sort.Search(len(entries), func(i int) bool { return r.after(entries[i].sort) })
	return entries[from:max(from, to)]
}

// keyCondition reads a key condition: the partition key equal to a value, and at most one condition on the sort key.
func (x *index) keyCondition(c condition) (partition string, r interval, err error) {
	never := func(string) bool { return false }
	r = interval{never, never}
	bad := func(what string) (string, interval, error) {
		return "", r, refuse("ValidationException", "Query key condition not supported: %s", what)
	}
	parts := []condition{c}
	if a, ok := c.(and); ok {
		parts = []condition{a.a, a.b}
	}
	found := false
	var rest condition
	for _, part := range parts {
		if e, ok := part.(compare); ok && e.op == "=" && e.a.path == x.PartitionKey.Name && !e.a.size && e.b.value != nil && !found {
			if typeOf(e.b.value) != x.PartitionKey.Type {
				return bad("Condition parameter type does not match schema type")
			}
			partition, _ = sortKey(e.b.value)
			found = true
		} else if rest != nil {
			return bad("one condition on the partition key and one on the sort key at most")
		} else {
			rest = part
		}
	}
	if !found {
		return "", r, refuse("ValidationException", "Query condition missed key schema element: %s", x.PartitionKey.Name)
	}
	if rest == nil {
		return partition, r, nil
	}
	var path string
	var low, high operand
	switch e := rest.(type) {
	case compare:
		path, low, high = e.a.path, e.b, e.b
	case between:
		path, low, high = e.v.path, e.low, e.high
	case beginsWith:
		path, low, high = e.path, e.prefix, e.prefix
	default:
		return bad("operator")
	}
	if x.SortKey.Name == "" || path != x.SortKey.Name {
		return "", r, refuse("ValidationException", "Query condition missed key schema element: %s", x.SortKey.Name)
	}
	if typeOf(low.value) != x.SortKey.Type || typeOf(high.value) != x.SortKey.Type {
		return bad("Condition parameter type does not match schema type")
	}
	from, _ := sortKey(low.value)
	to, _ := sortKey(high.value)
	before, after := func(k string) bool { return k < from }, func(k string) bool { return k > to }
	switch e := rest.(type) {
	case between:
		r = interval{before, after}
	case beginsWith:
		if x.SortKey.Type == types.ScalarAttributeTypeN {
			return bad("begins_with on a number")
		}
		r = interval{before, func(k string) bool { return k > from && !strings.HasPrefix(k, from) }}
	case compare:
		switch e.op {
		case "=":
			r = interval{before, after}
		case "<":
			r.after = func(k string) bool { return k >= to }
		case "<=":
			r.after = after
		case ">":
			r.before = func(k string) bool { return k <= from }
		case ">=":
			r.before = before
		default:
			return bad("operator <>")
		}
	}
	return partition, r, nil
}
