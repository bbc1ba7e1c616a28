package alert

import (
	"math"

	"example.com/market-data-pipeline/functions/processor/market"
)

// compileCondition compiles an expression outside a rule file, on bars of a minute where on is a bar.
func compileCondition(src string, on market.Kind) (*condition, []fault) {
	r := &rule{on: on}
	if on == market.Bar {
		r.interval = 60e9
	}
	return r.compileText(src)
}

// withSlots gives x room for the slots of one rule, whose values are unknown.
func withSlots(x *eval) *eval {
	for i := range maxExpression {
		x.values, x.local = append(x.values, math.NaN()), append(x.local, i)
	}
	return x
}
