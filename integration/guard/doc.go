// Package guard makes what needs root, and what has to be undone whatever ends
// the program that made it: a Guard is a process that undoes it when its input
// ends. Need says what is missing, as ErrNotHere.
//
// A Guard may be used by one goroutine at a time.
package guard
