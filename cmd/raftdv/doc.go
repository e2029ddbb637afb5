// Raftdv is the tool that comes with the transport: it shows a cluster at
// work, prints the state of a running one and measures ports.
package main
