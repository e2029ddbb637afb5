// Package ordered delivers frames to all members of a group in one order
// (protocol §4), on top of package barrier. It knows Totem's terms:
//
//   - agreed: all members deliver in the same order, that of the stamps, as soon
//     as the barrier has passed the frame.
//   - safe: likewise, and not before every member of the view is known to have it.
//
// Three layers, each on the one before it:
//
//   - A Core is a deterministic state machine like barrier's, which it drives: no
//     goroutine, no clock, no I/O. It numbers, stamps and keeps frames, delivers
//     them, and sends them again to members that lack them.
//   - An Endpoint adds what takes time: who is suspected, who proposes views, how
//     often rows are published. It is as deterministic; every input has its time.
//   - A Group is an endpoint on a port, with its files: what programs use. It also
//     carries messages of the classes fifo and unordered, to whom they are meant for.
//
// What takes one round trip, and what a program sees: docs/decisions/0005-groups.md;
// an example: docs/examples/table.
//
// # What a Core's caller owes
//
//  1. What barrier's callers owe: Save, then Saved; rows; suspicion; Propose. What
//     the core does for it: parked frames, cuts, frames that others lack.
//  2. After each input Take is called and acted on, in the order of Output's
//     fields. Sends are given to the port in their order; a port delivers them in
//     that order.
//  3. A send that a port refuses, or whose ticket is lost, is reported with Lost.
//     Sends to a member that has died may be forgotten.
//
// # Invariants
//
//   - O1, O2, O3, B2: see barrier.
//   - F3: at most Settings.Window frames, and WindowBytes bytes, of a member are in
//     its view and not known to be at all members; Send fails beyond. Nothing else
//     is kept, so that the memory of a group of n is n windows and, of frames of the
//     view to come, n more.
package ordered
