// Package barrier is the shared table of a group: who belongs to it, what each
// member's stream of agreed frames has promised, and up to which stamp the
// order of all frames is final (protocol §4).
//
// A Core is a deterministic state machine: no goroutine, no clock, no I/O. It
// knows no payload. Inputs go in, what is to be done is taken with Take.
//
// # Words
//
// A view is a numbered set of lives. Each member of it stamps its agreed frames
// with a hybrid logical clock and numbers them; its row says how many it sent,
// and promises that all further ones are stamped later. The barrier is the least
// of these promises, as far as the frames have arrived: what is stamped at or
// before it can be delivered in the order of the stamps.
//
// A view ends with a ballot. Its leader says whom the next view leaves out; the
// others stop to send (they are wedged), take nothing more of those left out,
// and show what they have. When they all have the same, the leader proposes the
// next view, which names exactly how many frames of each member belong to this
// one. It is decided by Paxos in the rows: the configuration's voters are the
// acceptors, members or not.
//
// A Detector, apart from the Core and with a clock, says whom a member suspects.
//
// # What a caller owes
//
//  1. All calls are serialised.
//  2. After each input the output is taken and acted on: what is to be saved is
//     saved, then Saved is called; then the row is published if Publish is set.
//     A row may be published before; it shows no vote that is not saved.
//  3. Frame is given the agreed frames of each life in their order; those that
//     are parked are offered again after each input. What is taken is kept until
//     Stable says that all members have it, and is sent to members whose rows show
//     that they lack it.
//  4. Before a view in which this life stayed counts as installed, all frames up
//     to its cuts are delivered, in the order of their stamps.
//  5. Row is given every row of a peer, SetSuspects whom the member suspects by its
//     own observation, SetConfig every configuration that it applies.
//  6. Propose is called when Wants says so; by several members at once it is safe
//     and slow: callers take turns.
//  7. AppendSection is called when the row is encoded, and the versions of the
//     rows that carry it rise in the order of the calls.
//
// # Invariants
//
//   - B1: barrier and promises never fall, also across views.
//   - B2: no agreed frame stamped at or before a barrier that a member has passed
//     is delivered there later.
//   - O1: two members that both stay from a view to the next deliver the same
//     frames in it, in the same order.
//   - O2: nothing is delivered that was not sent, nothing twice.
//   - O3: what is safe at one member was received by all members of the view.
//   - V1: a view number has one value.
//   - V2: with a majority of the voters connected, views settle.
//
// docs/decisions/0004-views.md has the argument, and what was not chosen.
package barrier
