// Package needs is for tests alone. It decides whether what a test needs of the
// machine and its user is there.
//
// A test that is skipped because the code under it says "not here" hides the day
// on which that code is wrong. So each need has a probe of its own, which does
// not use this project's code: a test is skipped, by the name of what is
// missing, only if a probe fails too, and fails if all that it needs is there.
package needs
