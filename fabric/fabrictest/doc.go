// Package fabrictest is the conformance suite of fabric ports. A port is done
// when [Run] passes for it under the race detector.
//
// The same cases drive ports on the wall clock and ports in virtual time: a
// [Cluster] with Advance is driven by it and by one goroutine alone, any other
// by waiting for conditions with deadlines. Each case quotes the line of the
// contract that it holds a port to (package fabric, [fabric.Port],
// [fabric.Handler]) and names its invariant:
//
//   - F1: per sender, receiver and lane, delivered is a prefix of sent, in
//     order, once; what is missing was reported as a gap with its numbers.
//   - F2: every ticket resolves to acked or lost, once, in bounded time; acked
//     implies in the receiver's memory.
//   - F3: queues and memory are bounded by configuration; Send never blocks.
//   - P4 to P8: the numbered promises of package fabric, D1 to D4 the duties
//     that a port may rely on and has to allow for.
//
// The members' handlers check all of this all the time, so that a case finds
// also what it was not written for. [Violations] runs the suite and returns
// what it found instead of failing: with it the suite proves that it catches
// ports with a planted bug. [Mangle] wraps a handler so that bytes kept beyond
// the call are found.
//
// [Play] is for what has to be equal rather than right: it acts out a [Script] on
// a port, and the [Outcome] must not depend on the port's settings, nor on which
// port it is.
package fabrictest
