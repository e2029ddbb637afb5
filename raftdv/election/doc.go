// Package election arbitrates raft elections: among members that lost their
// leader it lets one campaign, the one that can win (protocol §6.4, §6.5).
//
// An Arbiter is a deterministic state machine: no goroutine, no clock, no I/O.
// Inputs go in with their time, outputs are taken with Take. It neither knows
// the transporter nor changes raft: it reads the messages that raft sends and
// is sent, decides when a message may go to raft, and makes one message of its
// own, MsgTimeoutNow to its own raft.
//
// # What a caller owes
//
//  1. All calls are serialised, with a time that never falls. Time is measured
//     from any origin by a monotone clock.
//  2. Sent is given every message that raft hands to Send, before it goes out.
//  3. Receive is given every message for raft, before raft gets it. What is
//     Pass goes to raft, in the order of the calls; what is Hold is the arbiter's
//     until an Output releases it; what is Discard is lost.
//  4. After each input the output is taken and acted on: what Receive passed
//     goes to raft, then Release, then Inject; then the row is published if
//     Publish is set. With several goroutines, input and Take are under one
//     lock; what is to be done may be done outside of it, by whoever took it:
//     raft allows for any order among messages of different calls.
//  5. Row is given every row of a peer; Heard every other sign of life; Down a
//     definite one of death, such as a closed connection, after everything that
//     came through it.
//  6. Advance is called when Deadline has come. A call that comes late by more
//     than half of suspect-after is taken for a loop that stood still: nobody
//     is suspected for what it did not hear (protocol §4).
//  7. AppendSection is called when the row is encoded, and the versions of the
//     rows that carry it rise in the order of the calls.
//
// # Invariants
//
//   - E1: rounds ≤ 1 + nominees that failed, under the assumption that
//     docs/elections.md states.
//   - E2: raft stays as safe as it is: messages are delayed, lost, and one
//     MsgTimeoutNow is made, all of which raft allows for. Lease reads are not
//     safe beside forced campaigns: raft has to use ReadOnlySafe.
//   - E3: no message is held longer than Config.Hold, on a network that was
//     measured as slow Config.MaxHold.
//   - E4: one endorsement per member and attempt; a member that restarts
//     abstains until attempts of its last life have passed.
package election
