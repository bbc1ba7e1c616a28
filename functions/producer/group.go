package producer

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"strconv"

	"example.com/market-data-pipeline/functions/processor/market"
)

// MessageGroup is the FIFO message group of a series: its key, or the hexadecimal SHA-256 of a key that SQS does not
// accept as a group.
func MessageGroup(symbol, source string) string {
	key := market.SeriesKey(symbol, source)
	if acceptable(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// shardGroup is the group of a series where series share shards groups.
func shardGroup(symbol, source string, shards int) string {
	h := fnv.New32a()
	h.Write([]byte(market.SeriesKey(symbol, source)))
	return "shard-" + strconv.Itoa(int(h.Sum32()%uint32(shards)))
}

// acceptable tells whether SQS accepts name as a message group or deduplication id: 1 to 128 ASCII letters, digits and
// punctuation marks, and no space.
func acceptable(name string) bool {
	if len(name) == 0 || len(name) > maxNameLength {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}
