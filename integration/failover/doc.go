// Package failover measures with real processes how long a cluster of stock
// etcd and one of etcd-dv take from a fault of their leader to the first
// acknowledged write (Run), whether they change leaders without a fault
// (RunQuiet), and what is left of their writes while a modified member
// campaigns for ever (RunAttack).
//
// Both clusters get the same treatment in one run, in turn, and the side that
// goes first changes with each trial. A write counts as the first one if it was
// begun after the fault and was acknowledged in a later term than the leader's.
// Every acknowledged write is read back from every member in the end: one that
// is missing fails the run (ledger.ErrLost).
//
// Clusters, namespaces, disks and groups of processes are gone when a Run
// returns, however it ends; those that the kernel does not remove by itself have
// a guard, a process that removes them when this one is killed.
package failover
