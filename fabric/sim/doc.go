// Package sim is a fabric in virtual time: ports of one cluster, the network
// between them and all that can go wrong with it, as one single-threaded event
// queue. There is no goroutine, no wall clock and one seeded source of
// randomness: the same seed and the same calls give the same run, which
// [Network.Hash] proves.
//
// A [Network] is driven by [Network.Step], [Network.Run] and [Network.Advance];
// ports call their handlers from there. All methods of a Network and of its
// ports must be called by the goroutine that drives it, or from handlers and
// timers. In this the ports differ from [fabric.Port], whose methods may be
// called concurrently.
//
// # The model
//
// Frames of one Send to one destination and lane travel as one packet. Packets,
// acks and rows are delayed, lost, doubled, corrupted and reordered as [Faults]
// says; the ports retransmit, order and acknowledge as a real port over
// datagrams does, so that what the layers above see is what the contract allows
// and nothing easier: a ticket that was lost may belong to a frame that arrives
// after all, an ack may be lost for a frame that arrived, frames of different
// lanes overtake each other.
//
// With a [Medium] frames also take time on the wire, in packets with headers, and
// cost the hosts time; it may multicast, keep the order, or be scheduled in slots.
// A [Model] is a Medium and the latency of one kind of fabric, each figure with
// its source and range: [ModelByName], [Model.Apply].
//
// Three states of a member differ in what still works. A member that is stalled
// ([Network.Stall]) does not return from its handler: its port still receives
// and acknowledges into bounded memory. One that is paused ([Network.Pause])
// does nothing at all, its timers wait, what arrives waits in a bounded buffer.
// One that was killed ([Network.Kill]) is gone; [Network.Join] starts it anew
// with the next incarnation.
//
// A link is up at a member while both directions work. What breaks it without a
// goodbye is noticed after Config.LinkTimeout; keep-alives are not simulated
// as packets. Rows are sent whether the link is up or not.
package sim
