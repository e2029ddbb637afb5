// Package udp is a fabric port over UDP, IPv4 or IPv6.
//
// In structure it is a QUIC without the handshake and without the web: packet
// numbers are never reused, acknowledgements name ranges of packet numbers,
// and lost bytes travel again in new packets (RFC 9000, RFC 9002). Keys come
// from outside, one per direction and pair of incarnations; see [Session].
//
// # On the wire
//
// A datagram is a header in clear, a payload and an AES-GCM tag. The payload is
// encrypted, or only authenticated (GMAC) where the peers would otherwise talk
// in clear. It is a list of chunks: acknowledgements, credit, rows, and for each
// lane pieces of one ordered byte stream of encoded frames. Small frames share
// a datagram, big ones span several. See wire.go.
//
// A frame that is given up (its ticket timed out, the link went down) is skipped
// in the stream: the receiver learns the offset and the link sequence at which
// the stream goes on, and knows from what it has delivered exactly which frames
// are missing. A stream therefore survives any outage of its session.
//
// # Control of loss, congestion and path
//
//   - Loss: packet threshold, time threshold and probe timeout of RFC 9002 §6.
//   - Congestion: NewReno of RFC 9002 §7 with pacing, so that the port shares a
//     bottleneck with TCP. In addition the receiver states how much its socket
//     buffer takes in a burst, which on loopback and in a rack is the only
//     bottleneck.
//   - Path MTU: DPLPMTUD (RFC 8899) from 1,200 bytes up to what the route's
//     interface takes, don't-fragment set, with black-hole detection.
//   - Company: while a batch of several frames is under way, what follows waits
//     until it is acknowledged, and leaves together (RFC 896); see cork.go. The
//     control lane and rows never wait, nor does what comes alone.
//   - Rows: latest wins. A row is queued once per peer, and resent until the
//     newest version is acknowledged. In a stream of rows only one in sixteen
//     and the last ask for an acknowledgement; see rowask.go.
//
// # Who owns what
//
// link.go and the files that it uses are a deterministic state machine for one
// peer: no goroutine, clock or I/O. The mutex of a peer (peer.go) guards its
// link. Three kinds of goroutine drive it:
//
//   - A caller of Send encodes into the link and, if nobody else is sending to
//     that peer and it is quiet, transmits on the spot; otherwise whoever sends
//     takes the bytes along.
//   - The reader takes datagrams from the socket and calls the Handler itself.
//     When a call lasts longer than Config.StuckAfter another reader takes over
//     the socket; the stuck one stays the only goroutine that delivers for its
//     peer, and ends when it is through.
//   - The pump runs timers and sends what callers left behind.
//
// # The caller's duties, beyond those of package fabric
//
//  1. A session's keys and indices are fresh: random, and never given to two
//     sessions. Connect refuses what it recognises.
//  2. Both ends of a session agree on Sealed.
package udp
