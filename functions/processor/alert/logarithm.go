package alert

import "math"

// logarithm is the natural logarithm, after FreeBSD's e_log.c, whose error is below 1 ulp. The standard library has
// another one for each processor; a rule must be the same to the last bit wherever it runs.
func logarithm(x float64) float64 {
	const (
		ln2High = 6.93147180369123816490e-01
		ln2Low  = 1.90821492927058770002e-10
		c1      = 6.666666666666735130e-01
		c2      = 3.999999999940941908e-01
		c3      = 2.857142874366239149e-01
		c4      = 2.222219843214978396e-01
		c5      = 1.818357216161805012e-01
		c6      = 1.531383769920937332e-01
		c7      = 1.479819860511658591e-01
	)
	switch {
	case math.IsNaN(x) || x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case math.IsInf(x, 1):
		return x
	}
	fraction, exponent := math.Frexp(x)
	if fraction < math.Sqrt2/2 {
		fraction, exponent = fraction*2, exponent-1
	}
	f, k := fraction-1, float64(exponent)
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	odd := float64(s2 * (c1 + float64(s4*(c3+float64(s4*(c5+float64(s4*c7)))))))
	even := float64(s4 * (c2 + float64(s4*(c4+float64(s4*c6)))))
	half := float64(0.5 * float64(f*f))
	return float64(k*ln2High) - ((half - (float64(s*(half+odd+even)) + float64(k*ln2Low))) - f)
}
