// Package stream is a fabric port over byte streams that somebody else dialled
// and authenticated: TCP, TLS, unix sockets, anything that is a net.Conn. It
// passes wherever the cluster's peer URLs pass, and is the port that always
// works.
//
// # Connections
//
// The receiver dials, data flows to the dialler: between two members there are
// two connections, one for each direction of data. On each of them frames,
// rows and keep-alives flow from the member that was dialled, and acks flow
// back. [Port.AttachSend] takes a connection that the peer dialled,
// [Port.AttachReceive] one that was dialled to the peer. A newer connection
// replaces the older one of the same direction.
//
// # What is on the wire
//
// Everything is a frame of package fabric. Towards the receiver:
//
//   - KindCredit opens a connection: the link's epoch, and for each lane the
//     next link sequence, the window in bytes and the bound in frames. The
//     receiver reports what lies between the last frame that it has and that
//     sequence as a gap (F1).
//   - frames of the caller; those with a body above 64 KiB in pieces, each with
//     a fragment section, so that no lane holds up a more urgent one for long.
//   - KindVoid in place of frames whose time was up before they left (F2).
//   - KindRow, the newest row; at most rowWindow of them are on the wire.
//   - KindKeepalive with a number that the receiver sends back.
//
// Towards the sender: KindAck (for each lane the next link sequence expected
// and the bytes taken in, then the number of rows), KindKeepalive. Acks are
// cumulative. One is sent when 64 KiB or a quarter of a lane's window was taken
// in, and AckDelay after the first frame that was not acked yet.
//
// # Priorities
//
// Control goes first, then rows, then append and bulk in turns, and no write is
// much longer than 64 KiB. What has left cannot be overtaken any more, so the
// windows of append and bulk follow the link: they grow while keep-alives come
// back as fast as on an idle link and shrink when these are late by 50 ms. Where
// the socket is known the kernel is told not to queue much either.
//
// # Acks
//
// A frame is acked when it is about to be handed to the handler: from there on
// nothing but Close or the end of the process can keep it from the handler.
//
// # Who owns what
//
// A sendConn's writer goroutine owns the connection's write side while
// sendConn.writing is set; a caller of Send may borrow that right for one
// non-blocking write to an idle socket. Queues belong to the sendConn and die
// with it: tickets in flight are then lost, sequences go on with the next one.
// A recvConn's reader goroutine owns its buffer; what it knows of the peer's
// link (peer.rx) belongs to whoever holds the right to call the handler about
// that peer. One goroutine for each port watches for what is late. Locks are
// taken in the order Port.mu, peer.mu, sendConn.mu, Port.rowMu; none is held
// during a call of the handler.
package stream
