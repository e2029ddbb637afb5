// Package simulate runs clusters of real raft cores in virtual time: nodes of
// go.etcd.io/raft with etcd's settings, the codec and the row acks of package
// raftdv, ports of fabric/sim, disks that lose what was not synced, clients and
// a nemesis. One goroutine does it all, and one seed decides everything: the
// same [Config] gives the same [Report], hash included.
//
// [Run] runs one seed and checks it; [Shrink] reduces the schedule of faults of
// a seed that fails; [Suite] runs many seeds and can be continued.
//
// # Layout
//
// cluster.go is the run, node.go one incarnation of a member, send.go and
// receive.go what passes between raft and the port, disk.go the storage model,
// clients.go the workload, schedule.go and faults_*.go the nemesis. Each
// invariant is checked in a file of its own, check_*.go. arbiter.go is the seam
// for what decides elections.
//
// # The caller's duties
//
//  1. Nothing else may draw from crypto/rand while a run is under way: raft takes
//     its election timeouts from there, so the run replaces the source. Runs of
//     one process wait for each other.
//  2. What the run calls (an [Arbiter], Config.Trace) must not use a clock,
//     goroutines or the order of maps.
package simulate
