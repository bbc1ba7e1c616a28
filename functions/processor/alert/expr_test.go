package alert

import (
	"math"
	"strings"
	"testing"

	"example.com/market-data-pipeline/functions/processor/market"
)

// The values of a trade: price 200.1, size 50, side buy, venue Q.
func tradeValues() *eval {
	x := withSlots(new(eval))
	x.trade(&market.Event{Price: 200_100_000_000, Size: 50 * market.Unit, Side: market.Buy, Venue: "Q"})
	return x
}

// The values of the quote 100.00 x 3 / 100.10 x (unknown size).
func quoteValues() *eval {
	x := withSlots(new(eval))
	x.quote(&book{hasBid: true, hasAsk: true, bid: 100 * market.Unit, ask: 100_100_000_000, bidSize: 3 * market.Unit})
	return x
}

func TestExpressions(t *testing.T) {
	const suspended = "suspended"
	for _, tc := range []struct {
		on   market.Kind
		expr string
		want string // true, false or suspended
	}{
		// "Literals convert through the same fixed point as prices: 200.1 is 200.1."
		{market.Trade, "price == 200.1", "true"}, {market.Trade, "price == 200.10", "true"}, {market.Trade, "price == 2.001e2", "true"},
		{market.Trade, "price < 200.1", "false"}, {market.Trade, "price > 200.1", "false"}, {market.Trade, "200.1 >= price", "true"},
		{market.Trade, "price != 200.1", "false"}, {market.Trade, "price <= 200.100000001", "true"},
		{market.Trade, "price < 99991 * 999999999999999", "true"}, {market.Trade, "-1e300 < price", "true"},
		{market.Trade, "price * size >= 10_005", "true"}, {market.Trade, "price * size > 99999999999999", "false"},
		// Arithmetic and its precedence.
		{market.Trade, "2 + 3 * size == 152", "true"}, {market.Trade, "(2 + 3) * size == 250", "true"}, {market.Trade, "size - 10 - 5 == 35", "true"},
		{market.Trade, "size / 10 / 5 == 1", "true"}, {market.Trade, "-size + 60 == 10", "true"}, {market.Trade, "+size == 50", "true"}, {market.Trade, "-(size - 60) == 10", "true"},
		// "`abs min max log sqrt`"
		{market.Trade, "abs(price - 300) > 99.8", "true"}, {market.Trade, "min(price, size) == 50", "true"}, {market.Trade, "max(price, size, 201) == 201", "true"},
		{market.Trade, "sqrt(size * 2) == 10", "true"}, {market.Trade, "log(size / 50) == 0", "true"}, {market.Trade, "min(size, 3, 7) == 3", "true"},
		// Texts.
		{market.Trade, `side == "buy"`, "true"}, {market.Trade, `side != "buy"`, "false"}, {market.Trade, `'sell' == side`, "false"}, {market.Trade, `venue == "Q" and side == 'buy'`, "true"},
		// Boolean logic.
		{market.Trade, "price > 300 or size > 10", "true"}, {market.Trade, "price > 300 && size > 10", "false"}, {market.Trade, "price > 300 || size > 100", "false"},
		{market.Trade, "not (price > 300)", "true"}, {market.Trade, "!(price > 300) and true", "true"}, {market.Trade, "price > 1 or price > 2 and price > 300", "true"},
		{market.Trade, "(price > 1 or price > 2) and price > 300", "false"},
		// "No evaluation at all … while an operand is NaN or infinite", on either side of "and" and "or".
		{market.Trade, "price / (size - 50) > 1", suspended}, {market.Trade, "sqrt(price - 300) > 1", suspended}, {market.Trade, "log(size - 50) < 1", suspended},
		{market.Trade, "price > 1 or sqrt(price - 300) > 1", suspended}, {market.Trade, "price > 300 and log(size - 50) < 1", suspended},
		{market.Trade, "not (sqrt(price - 300) > 1)", suspended}, {market.Trade, "sqrt(price - 300) != 1", suspended}, {market.Trade, "min(sqrt(price - 300), 1) == 1", suspended},
		// Quotes.
		{market.Quote, "bid == 100 and ask == 100.1", "true"}, {market.Quote, "mid == 100.05", "true"}, {market.Quote, "spread == 0.1", "true"},
		{market.Quote, "spread_bps > 9.99 and spread_bps < 10", "true"}, {market.Quote, "bid_size == 3", "true"}, {market.Quote, "ask_size >= 0", suspended},
	} {
		c, faults := compileCondition(tc.expr, tc.on)
		if len(faults) > 0 {
			t.Errorf("%s: %v", tc.expr, faults)
			continue
		}
		x := tradeValues()
		if tc.on == market.Quote {
			x = quoteValues()
		}
		got := "false"
		if c.test(x) {
			got = "true"
		}
		if x.undefined {
			got = suspended
		}
		if got != tc.want {
			t.Errorf("%s is %s, want %s", tc.expr, got, tc.want)
		}
		// The canonical text is an expression of the same meaning, and its own canonical text.
		again, faults := compileCondition(c.text, tc.on)
		if len(faults) > 0 || again.text != c.text {
			t.Errorf("canonical text of %s: %q, then %q, %v", tc.expr, c.text, again.text, faults)
		} else if x2 := *x; again.test(&x2) != (got == "true") && got != suspended {
			t.Errorf("canonical text %q of %s means something else", c.text, tc.expr)
		}
	}
}

func TestCanonicalText(t *testing.T) {
	for expr, want := range map[string]string{
		"price>1&&size<2 || !(price>3)":    "price > 1 and size < 2 or not (price > 3)",
		"(price > 1 or size < 2) and true": "(price > 1 or size < 2) and true",
		"price - (size - 1) > 1_000":       "price - (size - 1) > 1000",
		"((price - size)) - 1 > 2e3":       "price - size - 1 > 2000",
		"price * (size + 1) / 2 > 3":       "price * (size + 1) / 2 > 3",
		"-(price + 1) < 0":                 "-(price + 1) < 0",
		"abs( price-1 )>2*3":               "abs(price - 1) > 6",
		"venue == 'Q'":                     `venue == "Q"`,
		"price > 1 /* why */":              "price > 1",
		"price < 1e20 and size > 9e18":     "price < 100000000000000000000.0 and size > 9000000000000000000",
	} {
		if c, faults := compileCondition(expr, market.Trade); len(faults) > 0 || c.text != want {
			t.Errorf("%s: %q, %v, want %q", expr, c.text, faults, want)
		}
	}
}

// The whitelist: what the parser accepts beyond the language is refused with a remedy.
func TestExpressionsRefused(t *testing.T) {
	for expr, want := range map[string]string{
		"price > 1 > 2":                  "cannot be chained",
		"1 < price <= 2 < 3":             "cannot be chained",
		"if price > 1 { true } else {1}": `"if"`,
		"price > 1; size > 1":            `";"`,
		"(price ?? 1) > 2":               `"??"`,
		"price ** 2 > 1":                 `"**"`,
		"price ^ 2 > 1":                  `"^"`,
		"price % 2 > 1":                  `"%"`,
		"price in 1..3":                  `".."`,
		`venue contains "Q"`:             `"contains"`,
		`not (venue startsWith "Q")`:     `"startsWith"`,
		`"a" + venue == "b"`:             `"+" needs a number`,
		"price[0] > 1":                   "plain names",
		"price?.x > 1":                   "plain names",
		"price.abs() > 1":                "methods do not exist",
		"[price] == [1]":                 "lists, maps and closures",
		"{a: 1} == 2":                    "lists, maps and closures",
		"all([1], {# > 1})":              "unknown function all()",
		"::abs(price) > 1":               `"::"`,
		"$env.price > 1":                 "plain names",
		"abs > 1":                        `"abs" is a function`,
		"price":                          "condition that is true or false",
		"true > false":                   "needs a number",
		"(price > 1) == (size > 1)":      "needs a number",
		"price and size":                 `"and" needs a true or false`,
		"not price > 3":                  "put a comparison in parentheses",
		"-side == 1":                     `"-" needs a number`,
		"price == side":                  `"==" needs a text`,
		"price > nil":                    `"nil"`,
		"sqrt(0 - 1) > price":            "is not a number",
		"min(price) > 1":                 "takes 2 to 8 arguments",
		"abs(side) > 1":                  "abs",
		"0b11 < price":                   "not a decimal number",
		"price = 3":                      `write "=="`,
		"price > 'a":                     "syntax",
		"rsi(price) > 70":                "rsi() takes 2 arguments, not 1: write rsi(x, 20)",
		"sma(price, 0) > 70":             "lengths are whole numbers from 1 to 1000",
		"sma(price, 1001) > 70":          "lengths are whole numbers from 1 to 1000",
		"sma(price, 2.5) > 70":           "lengths are whole numbers from 1 to 1000",
		"sma(price, size) > 70":          "lengths are whole numbers from 1 to 1000",
		"sma(price, -3) > 70":            "lengths are whole numbers from 1 to 1000",
		"bb_upper(price, 20, 0) > 70":    "a factor is a number above 0",
		"bb_upper(price, 20) > 70":       "bb_upper() takes 3 arguments, not 2: write bb_upper(x, 20, 2)",
		"sma(5, 3) > price":              "never changes",
		"crossover(1, 2)":                "never changes",
		"crossover(price, 2) > 1":        "needs a number",
		"sma(price > 1, 3) > 1":          "needs a number",
		"sum(price, {14}) > 70":          "lists, maps and closures",
		"sum(price, # + 1) > 70":         "lists, maps and closures",
		"atr(14) > 1":                    "atr() has no meaning on: trade, use it on: bar",
		"vwap(3) > 1":                    "vwap() takes 0 arguments, not 1",
		"vwap > 1":                       "is a function: call it, as in vwap()",
		"day_open() > 1":                 `"day_open" is a value`,
		"close > 1":                      "a value of on: bar",
		"state == 'halted'":              "a value of on: status",
		"bid > 1":                        "a value of on: quote",
		"price > 1e999":                  "syntax",
		"b'x' == venue":                  "lists, maps and closures",
		" ":                              "the expression is empty",
		"venue == `\xd0`":                "not UTF-8",
		strings.Repeat("(", 900) + "1" + strings.Repeat(")", 900): "condition that is true or false",
		strings.Repeat("-", 1900) + "1":                           "condition that is true or false",
	} {
		_, faults := compileCondition(expr, market.Trade)
		if len(faults) == 0 {
			t.Errorf("%.60s compiles, want %q", expr, want)
			continue
		}
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.text, want)
		}
		if !found {
			t.Errorf("%.60s: %v, want %q", expr, faults, want)
		}
	}
}

// "collects ALL errors"
func TestExpressionReportsEveryMistake(t *testing.T) {
	_, faults := compileCondition(`prce > 1 and sizee < 2 and side > "x" and foo(1) > 2 and sma(price, 0) > 1`, market.Trade)
	if len(faults) != 6 {
		t.Errorf("%d faults, want 6: %v", len(faults), faults)
	}
}

func TestValueAndOperands(t *testing.T) {
	for expr, want := range map[string]struct {
		value    float64 // NaN = none
		operands string
	}{
		"price > 3":                        {200.1, "price"},
		"3 < price":                        {200.1, "price"},
		"price * size > 3 and size > 1":    {10005, "price, size, price * size"},
		`side == "buy" and abs(size) > 49`: {50, "size, abs(size)"},
		`side == "buy"`:                    {math.NaN(), ""},
		"1 < 2 and size > 3":               {50, "size"},
	} {
		c, faults := compileCondition(expr, market.Trade)
		if len(faults) > 0 {
			t.Fatal(expr, faults)
		}
		var texts []string
		for _, o := range c.operands {
			texts = append(texts, o.text)
		}
		if got := strings.Join(texts, ", "); got != want.operands {
			t.Errorf("%s: operands %q, want %q", expr, got, want.operands)
		}
		got := math.NaN()
		if c.first != nil {
			got = c.first.of(tradeValues())
		}
		if math.Abs(got-want.value) > 1e-9 || math.IsNaN(got) != math.IsNaN(want.value) {
			t.Errorf("%s: value %v, want %v", expr, got, want.value)
		}
	}
}

// "ALL errors at once": a mistake hides none beside it, nor one that the part around it makes whatever the part means.
func TestErrorsDoNotHideErrors(t *testing.T) {
	const unknown = `unknown name "prise"`
	for expr, want := range map[string][]string{
		"prise > 100 and size":              {unknown, `"and" needs a true or false, but size is a number`},
		"size and prise > 100":              {unknown, `"and" needs a true or false, but size is a number`},
		"price and size":                    {"but price is a number", "but size is a number"},
		"prise > (size > 1)":                {unknown, `but size > 1 is a true or false`},
		`prise < "x"`:                       {unknown, "texts have no order"},
		`prise == "x"`:                      {unknown},
		"prise and size > 1":                {unknown},
		"(prise > 1) > 2":                   {unknown, `">" needs a number`},
		"not (prise + 1)":                   {unknown, `"not" needs a true or false, but prise + 1 is a number`},
		"prise + side > 1":                  {unknown, `"+" needs a number, but side is a text`},
		"-prise and true":                   {unknown, `"and" needs`},
		"prise + 1":                         {unknown, "condition that is true or false"},
		"min(prise, side) > 1":              {unknown, `"min" needs a number, but side is a text`},
		"min(side, venue) > 1":              {"but side is a text", "but venue is a text"},
		"abs(prise, size) > 1":              {unknown, "abs() takes 1 arguments"},
		"foo(prise) > 1":                    {unknown, "unknown function foo()"},
		"sma(prise, 0) > 1":                 {unknown, "lengths are whole numbers"},
		"sma(prise) and sma(side, 3) > 1":   {unknown, "sma() takes 2", `but side is a text`, `"and" needs`},
		"crossover(prise, 1) > 1":           {unknown, `">" needs a number`},
		"crossover(prise) > 1":              {unknown, "crossover() takes 2", `">" needs a number`},
		"atr(prise) > 1":                    {unknown, "atr() has no meaning"},
		"prise > 1 ? sise > 2 : foo(1) > 3": {unknown, "two rules", `unknown name "sise"`, "unknown function foo()"},
		"let x = prise; true":               {unknown, `"let"`},
		"prise > 1; sise > 2":               {unknown, `";"`, `unknown name "sise"`},
		"size in [prise, 2]":                {unknown, `"in"`, "lists"},
		"size contains prise":               {unknown, `"contains"`},
		"price.abs(prise) > 1":              {unknown, "methods"},
		"prise | abs() > 1":                 {unknown, `"|"`},
		"close and size":                    {"a value of on: bar", `but close is a number`, "but size is a number"},
		"1 / 0 and prise > 1":               {unknown, "is not a number", `"and" needs`},
		`side > "BUY"`:                      {`did you mean "buy"`, "no order"},
	} {
		_, faults := compileCondition(expr, market.Trade)
		var texts []string
		for _, f := range faults {
			texts = append(texts, f.text)
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(texts, "\n"), w) {
				t.Errorf("%s: not found: %s; faults %q", expr, w, texts)
			}
		}
		if len(faults) != len(want) {
			t.Errorf("%s: %d faults, want %d: %q", expr, len(faults), len(want), texts)
		}
	}
	// Without a condition the value that a summary prints is nobody's.
	if _, err := Load("f", []byte(oneRule("expr: price >", `summary: "{{ .value }} {{ .asc }}"`))); err == nil || !strings.Contains(err.Error(), "syntax") || !strings.Contains(err.Error(), `unknown field "asc"`) {
		t.Errorf("a summary beside a faulty expression: %v", err)
	}
	// Nor do those of a rule hide each other: a wrong kind, its expression, and a "for" on a crossing.
	_, err := Load("f", []byte(oneRule("on: quotes", "expr: crossover(middle, 3)", "for: 5s", `summary: "{{ .asc }}"`)))
	for _, w := range []string{`did you mean "quote"`, `unknown name "middle"`, `"for" on a crossing`, `unknown field "asc"`} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("not found: %s in\n%v", w, err)
		}
	}
}
