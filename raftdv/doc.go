// Package raftdv carries raft messages between the members of a cluster over
// fabrics: a rafthttp.Transporter for etcd 3.7 and up, and for any program on
// go.etcd.io/raft.
//
// # Moving over from rafthttp
//
// [Transport] has rafthttp.Transport's fields under the same names: change the
// import and the name of the type. Serve [Transport.Handler] where rafthttp's
// handler was served. Peers that still speak rafthttp are reached over an inner
// rafthttp.Transport, so members can be changed one by one, in either direction.
//
// # What it does differently
//
//   - Send copies what it is given; a message may be changed when it returns.
//   - Losses are reported to Raft from a goroutine of the transport, never
//     inside of Send.
//   - Messages reach Raft.Process on the goroutine that received them. While
//     Process blocks, that peer's credit is used up and its transport drops and
//     reports; rafthttp drops at the receiver. Proposals have a queue and a
//     goroutine of their own.
//   - A message that says it is from somebody else than the member whose peer
//     URL it came from is refused.
//
// # Layout
//
// Send is in send.go, what comes in is in receive.go; path.go chooses among the
// fabrics. hello.go, serve.go and dial.go are the bootstrap, codec.go and
// rowack.go the formats, elections.go drives the arbiter, snapsend.go and snapreceive.go the snapshots, state.go
// what /debug/dv shows.
package raftdv
