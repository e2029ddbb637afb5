// Package mesh connects the stream ports of a group of processes over TCP or TLS,
// for programs that have no connections of their own: each member listens at an
// address, and dials all others.
//
// # On the wire
//
// The receiver of data dials (see package stream). Both ends say hello first,
// little-endian, 40 bytes:
//
//	offset  size  field
//	     0     4  "dVm" and the version, 1
//	     4     4  0 for a hello; otherwise how many bytes of text follow, which say why the connection is refused
//	     8     8  cluster
//	    16     8  member that says it
//	    24     8  member that it takes the other end to be
//	    32     8  incarnation of the member that says it
//
// # Who is who
//
// With TLS both ends show certificates; Config.Verify says whether a member is
// whom its certificate names. Without TLS everything goes in clear, with checksums,
// and members are believed: that is for hosts and networks that nobody else is on.
package mesh
