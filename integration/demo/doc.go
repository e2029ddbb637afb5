// Package demo shows a cluster at work and checks it: writes, reads, the loss
// of the leader, its return, and that every acknowledged write is still there.
//
// Run prints what it does as it goes and returns an error if anything that
// was acknowledged is missing. Nothing is left behind, however it ends.
package demo
