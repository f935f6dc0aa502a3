// Package failure judges from when a member was heard whether it has failed. It is pure: no clock, no goroutine; the
// instants that it is given count from any one origin.
//
// # What it promises
//
// [Phi] is the φ accrual failure detector (Hayashibara, Défago, Yared, Katayama: "The φ accrual failure detector",
// 2004). It gives no verdict but a level of suspicion, φ: with φ = 1 the chance that the member is alive and only
// late is about 10 %, with φ = 16 about 10⁻¹⁶, as long as its answers come as they came in the past. The intervals
// between answers are taken as normally distributed, and the tail of the distribution is approximated by a logistic
// function:
//
//	y = (t − (mean + pause)) / max(σ, minimal σ)
//	e = exp(−y × (1.5976 + 0.070566 × y²))
//	φ = −log10(e / (1 + e))        where t > mean + pause
//	φ = −log10(1 − 1 / (1 + e))    otherwise
//
// t is the time since the member was last heard. A member that was never heard has φ = 0: nothing is known of it.
//
// # What it asks of its caller
//
// One goroutine at a time uses a Detector, and instants never go back. A caller that stood still itself must not judge
// by what it missed meanwhile: that is the caller's affair (see package node). So is what follows from a verdict.
package failure
