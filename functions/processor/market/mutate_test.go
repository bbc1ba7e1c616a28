package market

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mutationsVariable sets how many bodies TestMutations tries. Without coverage to look at, a body costs a fraction of
// what one of FuzzDecode costs, so that tens of millions are a matter of an hour.
const mutationsVariable = "MUTATIONS"

// TestMutations holds the decoder against the slow one on bodies that are near to good and to bad ones: cut, spliced,
// repeated, and sprinkled with what has a meaning to either.
func TestMutations(t *testing.T) {
	total := 4_000
	if v := os.Getenv(mutationsVariable); v != "" {
		var err error
		if total, err = strconv.Atoi(v); err != nil {
			t.Fatalf("%s is %q: give a number of bodies", mutationsVariable, v)
		}
	}
	seeds := mutationSeeds(t)
	const block = 2_000 // a failure names its block, which can be run alone
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			for b := w; b*block < total && !t.Failed(); b += workers {
				random := rand.New(rand.NewPCG(uint64(b), 4))
				for range min(block, total-b*block) {
					mutationTried(t, b, mutate(random, seeds))
				}
			}
		})
	}
}

func mutationTried(t *testing.T, block int, body string) {
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v", r)
		}
		if t.Failed() {
			t.Errorf("block %d, body %q", block, body)
		}
	}()
	checkBody(t, body)
}

// mutationSeeds are the bodies that the mutations begin with: all that the tests of this package know, and other
// people's where they are at hand.
func mutationSeeds(t *testing.T) []string {
	seeds := append([]string{}, goodBodies...)
	for i, c := range append(badEvents(), brokenEvents...) {
		if len(c.event) > 2_000 {
			continue
		}
		switch i % 3 {
		case 0:
			seeds = append(seeds, c.event)
		case 1:
			seeds = append(seeds, "["+goodTrade+","+c.event+","+goodQuote+"]")
		case 2:
			seeds = append(seeds, goodBar+"\n"+c.event+"\n"+goodVolume)
		}
	}
	for _, pattern := range []string{"testdata/fuzz/FuzzDecode/*", filepath.Join(shared, "badinput", "JSONTestSuite", "*", "*.json")} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			if quoted, ok := strings.CutPrefix(text, "go test fuzz v1\nstring("); ok {
				if text, err = strconv.Unquote(strings.TrimSuffix(quoted, ")\n")); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if len(text) <= 2_000 {
				seeds = append(seeds, text)
			}
		}
	}
	return seeds
}

// mutationTokens are what a decoder of this format could trip over.
var mutationTokens = strings.Split(`{|}|[|]|,|:|"|\|\u|\ud83d|\ude00|\u0000|\u0041|\"|\\|null|true|false|NaN|-|+|.|e|E|e+|e-|0|-0|00|1|9|0.|.5|1e9|1e-9|1e-10|9223372036854775807|9223372036.854775807|`+
	`9223372036.854775808|0.0000000001|1e400|"type"|"symbol"|"Symbol"|"sym\u0062ol"|"source"|"timestamp"|"sequence"|"id"|"venue"|"price"|"size"|"volume"|"side"|"price_eligible"|"conditions"|"bid"|"ask"|"bid_size"|`+
	`"ask_size"|"interval"|"open"|"high"|"low"|"close"|"vwap"|"trades"|"state"|"reason"|"action"|"original_id"|"trade"|"quote"|"bar"|"status"|"correction"|"clock"|"buy"|"sell"|"cancel"|"1m"|"7m"|"1d"|"86400s"|`+
	`"2026-11-20T14:30:00Z"|"2026-11-20t14:30:00.123456789-05:00"|"2026-11-20T15:00:05Z"|"2026-11-20T15:00:05.000000001Z"|"2262-04-11T23:47:16.854775807Z"|"2024-02-29T00:00:00Z"|T|Z|z|+00:00|-23:59|:60|`+
	`,"x":1|,"x":null|,"x":[{}]|"x":"é"|[[[[|]]]]|{"a":{"a":`, "|")

var mutationBytes = []string{" ", "\t", "\r", "\n", "\r\n", "\n\n", "\x00", "\x1f", "\x7f", "\x80", "\xff", "\xc3", "\xc3\xa9", "\xed\xa0\x80", "\xf0\x9f\x98\x80", "\uFEFF", "\u2028", "\u0085", "ſ", "K", "|"}

// mutationValues are whole values. With them an event stays JSON, and often an event.
var mutationValues = strings.Split(`0|-0|1|0.5|1e0|1E+2|9.631e-05|0.000000001|1e-9|9223372036.854775807|9223372036.854775808|1.0000000000|10000000000|"1"|"0"|"189.84"|"1e9"|"-1"|""|"buy"|"sell"|"cancel"|"correct"|`+
	`"trade"|"quote"|"bar"|"status"|"correction"|"clock"|"1m"|"5m"|"90m"|"86400s"|"1d"|"7m"|"2026-11-20T14:30:00Z"|"2026-11-20t14:30:00.123456789-05:00"|"2026-11-20T15:00:05Z"|"2026-11-20T15:00:05.000000001Z"|`+
	`"2026-11-20T00:00:00.1z"|"1678-01-01T00:00:00+23:59"|"1678-01-01T00:00:00Z"|"2262-04-11T23:47:16.854775807Z"|"2262-04-11T23:47:16.854775808Z"|"2024-02-29T00:00:00Z"|"2100-02-29T00:00:00Z"|"AAPL"|"A|B"|"^GSPC"|"é"|`+
	`"\u0041"|"\ud83d\ude00"|"\u007f"|"\/"|"\n"|"x\\y\"z"|"😀"|true|false|null|[]|["@"]|["a" , "\u0062"]|[1]|{}|9007199254740993|9223372036854775807|9223372036854775808`, "|")

var mutationKeys = append(slices.Clone(fieldNames[:unknownField]), "x", "y", "Symbol", "PRICE", "\\u0070rice", "é", "")

// tame changes an event value by value.
func tame(random *rand.Rand, s string) string {
	for range 1 + random.IntN(3) {
		value := mutationValues[random.IntN(len(mutationValues))]
		key := mutationKeys[random.IntN(len(mutationKeys))]
		switch random.IntN(6) {
		case 0, 1, 2:
			s = with(s, key, value)
		case 3:
			s = `{"` + key + `":` + value + "," + s[1:]
		case 4:
			s = strings.Replace(s, ",", mutationBytes[random.IntN(len(mutationBytes))]+",", 1+random.IntN(3))
		case 5:
			at := 1 + random.IntN(len(s)-1)
			s = s[:at] + string("0123456789.eZ \\\"é"[random.IntN(17)]) + s[at:]
		}
	}
	return s
}

func mutate(random *rand.Rand, seeds []string) string {
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	if random.IntN(2) == 0 {
		switch s := tame(random, pick(goodEvents)); random.IntN(4) {
		case 0:
			return "[" + s + "," + tame(random, pick(goodEvents)) + "]"
		case 1:
			return s + "\n" + tame(random, pick(goodEvents))
		default:
			return s
		}
	}
	s := pick(seeds)
	cut := func() (int, int) {
		from := random.IntN(len(s) + 1)
		return from, min(len(s), from+random.IntN(1<<random.IntN(8)))
	}
	for range 1 + random.IntN(4) {
		from, to := cut()
		switch random.IntN(10) {
		case 0:
			s = s[:from] + s[to:]
		case 1:
			s = s[:to] + s[from:] // repeats
		case 2, 3:
			s = s[:from] + pick(mutationTokens) + s[from:]
		case 4:
			s = s[:from] + pick(mutationTokens) + s[to:]
		case 5:
			s = s[:from] + pick(mutationBytes) + s[from:]
		case 6:
			other := pick(seeds)
			at := random.IntN(len(other) + 1)
			s = s[:from] + other[at:min(len(other), at+random.IntN(200))] + s[to:]
		case 7:
			if from < len(s) {
				s = s[:from] + string([]byte{s[from] ^ 1<<random.IntN(8)}) + s[from+1:]
			}
		case 8:
			// A value for a value: what is between a colon and the next comma or brace.
			if i := strings.IndexByte(s[from:], ':'); i >= 0 {
				i += from + 1
				if n := strings.IndexAny(s[i:], ",}"); n >= 0 {
					s = s[:i] + pick(mutationTokens) + s[i+n:]
				}
			}
		case 9:
			switch random.IntN(3) {
			case 0:
				s = "[" + s + "]"
			case 1:
				s += "\n" + pick(seeds)
			case 2:
				s += "," + pick(seeds)
			}
		}
		if len(s) > 4_000 {
			s = s[:4_000]
		}
	}
	return s
}
