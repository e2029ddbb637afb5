// Package cluster runs etcd clusters of real processes on loopback: stock
// etcd, etcd-dv, or both in one cluster.
//
// Every member has a folder of its own (data, log) under one folder of the
// cluster. Processes end with the program that started them, whatever ends
// it, and Close leaves none behind. Nothing is found by name: a member is
// stopped, killed or paused by the process id that starting it returned.
//
// A Cluster and its Members may be used by several goroutines.
package cluster
