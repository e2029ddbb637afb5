// Package shm is a fabric port over shared memory between processes of one
// host. It has the shape of one-sided RDMA: the sender writes into the
// receiver's memory, the receiver looks at it, and credit comes back the same
// way.
//
// # How members meet
//
// Every member listens on a unix socket in a directory (mode 0700, of this
// user). Of two members the one with the lower id dials. Both ends are asked for
// their user (SO_PEERCRED), say hello with a proof that they know the session's
// key, and hand over the memory that they own as descriptors (SCM_RIGHTS): a
// memfd whose size is sealed, and the event of their doorbell. No file holds the
// memory, so that it vanishes with the last process that maps it. After the
// hellos the connection carries nothing; the kernel closes it when either
// process ends, however it ends, and that is how the other one learns it, at
// once. Then tickets in flight are lost, what the dead wrote whole is still
// delivered, the link goes down, and the memory is given up. The next meeting
// gets fresh memory. A socket that a killed process left behind is replaced by
// its successor: a lock tells whether it has one.
//
// # What is in the memory
//
// A segment is what one member lets one peer write to, for one session. Offsets
// in bytes; s are the slots of a lane, z the size of a slot (Config.Slots,
// Config.SlotSize):
//
//	offset          size       content                                     written by
//	     0          64 × 3     credit: slots taken in, a word of each lane  the peer
//	     8          64 × 3     question: slots that, once taken in, are     the peer
//	                           to be answered by a ring
//	   192          64         row: version word, odd while it is written   the peer
//	   256          1,088      row: length word, bytes                      the peer
//	 4,096          s0 × z     ring of the control lane                     the peer
//	 …              s1 × z     ring of the append lane                      the peer
//	 …              s2 × z     ring of the bulk lane                        the peer
//
// Its owner writes nothing there. Each member has also one doorbell, which all
// its peers map:
//
//	offset          size       content                                     written by
//	     0          4          number of rings                              everybody
//	    64          4          number of the sleep, 0 while awake           the owner
//
// A slot is that of package fabric: length first, valid word with a generation
// last and at a fixed place, stored atomically when all else is written. A
// frame that does not fit one slot takes several, each with a fragment section;
// all of them or none are written. A writer that dies at any point has either
// stored the valid word or not: there is no lock in the memory that it could
// leave taken, and nothing half written is ever looked at.
//
// # Credit and tickets
//
// The slots of a ring are all the credit there is: Send writes into the
// receiver's memory itself, or refuses with fabric.ErrNoCredit; there is no
// queue in between. A receiver copies slots, publishes how many it has taken in
// by one store to the sender's segment, and calls the handler. That count makes
// tickets acked and slots free. The sender looks at it when it runs out of
// credit; for tickets, and now and then for a round-trip time, it asks to be
// rung. A ticket that is not acked within Config.TicketTimeout is lost, but its
// slots stay in use until they are taken in, and the frame may still arrive.
//
// # What a peer can break
//
// Peers are processes of the same user, and yet what they write is not trusted:
// words are loaded once, bytes are copied before they are parsed, lengths,
// indices, generations, sequences and credit are checked. What no member writes
// ends the link with an error that wraps [ErrProtocol]. The size of a segment
// is sealed, so that no peer can take memory away that is in use. A peer that
// scribbles over another's doorbell delays it by at most a quarter of a second
// at a time.
//
// # Waiting
//
// The reader looks at its doorbell for Config.Spin where a processor is free
// and as long as that pays, then it sleeps until its event is set: an eventfd,
// handed over with the doorbell, in Go's poller. A ring is an atomic addition,
// and a system call only if the owner sleeps and this ringer has not woken it
// from that sleep yet. (Not: "if nobody has". Whoever took that upon itself may
// have been killed before it did.)
//
// # Who owns what
//
//   - A caller of Send or Publish writes to the peer's memory under the mutex of
//     that peer (peer.mu), which guards the sending half of a session.
//   - The reader calls the handler. Whoever sets peer.busy owns the receiving
//     half of that peer's session until it clears it. When a call lasts longer
//     than Config.StuckAfter another reader takes over the other peers; the stuck
//     one ends when it is through.
//   - The pump runs timers: tickets that time out, rows that wait, readers that
//     are stuck. It never calls the handler.
//   - One goroutine for each connection waits for its end.
//
// Memory is unmapped when both halves have let go of the session
// (session.refs). Locks are taken in the order Port.mu, Port.rowMu, peer.mu; none
// is held during a call of the handler.
//
// # The caller's duties, beyond those of package fabric
//
//  1. Both members call Connect, each with the other's incarnation and the same
//     key. A key is fresh for each pair of incarnations.
//  2. Only members of one host meet: whoever calls Connect has made sure of that
//     (see [HostID]), and that both are of one user.
//  3. The directory is on a local file system, and no part of its path is
//     writable for other users.
//  4. A link is up as long as the peer's process lives. Whether it still does
//     anything only tickets and the peer's own messages tell.
package shm
