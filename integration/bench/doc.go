// Package bench compares the transport with rafthttp and with plainer ways to
// carry messages, raft groups on them, and etcd-dv with etcd.
//
// Nothing here is judged by absolute numbers: machines differ, and one machine
// differs from minute to minute. Both sides are measured in turn, in the same
// process and run; each pair of neighbours gives a ratio, and what is reported
// is the median of the ratios with a 95% bootstrap interval. The side that goes
// first changes with each pair, so that a drift helps neither.
//
// # Transport
//
// [RunTransport] puts n members into one process: n complete transports with
// peer listeners made as etcd makes them, over loopback. Two things are
// measured for each number of members.
//
// Deliveries (flood.go). One leader sends to n-1 followers as raft does: one
// call of Send with one MsgApp for each follower, all with the same new entry. A
// delivery is one of them handed to Process.
// At most Window entries are out at once; when the slowest follower is that far
// behind, the leader waits until half of them are there. CPU is what getrusage
// says of the whole process, both ends and the harness included. Allocations are
// counted by the runtime, less what the harness itself makes, which a transport
// that does nothing shows in the same run. With Acks each follower answers as
// raft does, with one MsgAppResp for all that came since its last one, and the
// answers move the window.
//
// Round trips (pingpong.go). A MsgApp to one follower, whose Process answers
// with the MsgAppResp of its index, whose Process sends the next. One is in
// flight at a time.
//
// A message that is lost, damaged, doubled or out of order fails the run: a
// transport is not fast that drops what it is given.
//
// Beside the transport's own ports (dv.go) the same is measured over gRPC
// streams, TCP connections and datagrams without reliability (beside.go and the
// files named after them). The last one may lose messages: they are counted, and
// the leader goes on when nothing has come for a while.
//
// # Raft
//
// [RunRaft] has groups of raft nodes with etcd's settings on the same systems
// (raftmember.go), and clients that propose at the leader in closed loops
// (raftclient.go). What raft gives to a transport is counted in one place for
// all (count.go). Each member checks what it applies, and afterwards all are
// compared (history.go). A measurement in which leadership changed does not
// count and is made again on a new group.
//
// # Etcd
//
// [RunEtcd] starts one cluster of each program in processes of their own and
// lets the same clients write to one and to the other in turn.
//
// # Plots
//
// Ratios with their intervals are drawn as SVG (plot.go, plot.svg.tmpl). It is a
// template of this package's own: a plotting library (gonum's was looked at)
// brings fonts and four other formats into the program, and none of them has
// pictures that follow a reader's light or dark.
package bench
