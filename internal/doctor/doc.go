// Package doctor finds out which fabrics a machine can run, what is missing,
// and what mends it.
//
// A [probe] asks the machine one question. There are three answers: yes, no,
// and that it cannot tell, with the reason; a no and an unknown come with a
// remedy. What a fabric needs is a list of questions, of which some must be
// answered with yes and others only make it faster. Probes look at this process
// and its machine alone: they bind nothing but loopback, change nothing, and
// need no privilege.
package doctor
