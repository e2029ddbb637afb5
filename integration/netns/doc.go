// Package netns makes networks for clusters of real processes: each member has a
// network namespace, a bridge in one more joins them (Network), with datagrams of
// 1500 bytes as on hosts. Members are cut off, or links one by one in each
// direction (Links), and what members send is counted (Network.Sent).
//
// It needs root and the programs unshare, nsenter and ip; guard.ErrNotHere says
// what is missing. Nothing is made in the namespace of the caller, and all of it
// is gone with the program that made it, whatever ends that.
//
// A Network may be used by one goroutine at a time.
package netns
