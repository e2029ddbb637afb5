// Package fabric is the bottom layer: ports that carry bytes between the
// members of a cluster, and the wire format of what they carry.
//
// A [Port] is one member's attachment to a fabric. It knows members by
// [MemberID] and moves opaque bytes; it knows nothing of raft. The packages
// below this one are ports: sim (virtual time), stream (a byte stream that
// somebody else dialled), udp, shm (memory that processes of one host share).
// Package fabrictest holds the one conformance suite that every port passes,
// package fault the decorators that break a port in controlled ways.
//
// # What a port promises
//
//  1. Send never blocks. A destination without credit is refused at once, in
//     the returned [*SendError]; every queue has a configured bound (F3).
//  2. Per sender, receiver and lane, frames arrive in order, whole and once
//     (F1). A loss is never silent: the ticket says lost, and the receiver
//     is handed a [Gap] with the missing link sequence numbers.
//  3. A ticket resolves exactly once, as acked or lost, in bounded time (F2).
//     Acked means that the frame is in the receiver's memory. It never means
//     that the receiving process is alive, or that anything was made durable.
//  4. The sender of a frame is known from the link that it came through, never
//     from its bytes.
//  5. Publish replaces the caller's row. The newest version is resent until it
//     is acked; at most one version per destination is queued.
//  6. Multicast is one Send for any set of destinations.
//  7. Now is the fabric's clock with an error bound; without synchronised
//     clocks it is logical and says so.
//  8. Capabilities are what the port can do, and do not change.
//
// # The caller's duties
//
//  1. Bytes given to Send and Publish belong to the caller again when the call
//     returns: the port has copied what it keeps.
//  2. Bytes handed to a [Handler] are valid until that call returns. A handler
//     that keeps them copies them.
//  3. A handler may call Send and Publish, and may take its time: while Deliver
//     runs, nothing else of that peer is delivered, and what arrives uses up
//     that peer's credit. It must not call Close.
//  4. Row versions of one incarnation rise. Incarnations of a member rise with
//     each start.
package fabric
