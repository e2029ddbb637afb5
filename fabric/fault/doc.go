// Package fault breaks ports in controlled ways. [Controller.Wrap] puts a
// decorator around any port and its handler; rules set on the [Controller],
// live, say what happens to what one member sends another. Faults of the kernel
// do not reach every fabric (a one-sided write passes all of its queues); these
// do, because they happen above the port.
//
// # Contract
//
// A wrapped port keeps the contract of package fabric, as a port on a bad
// network does: a frame that is dropped resolves its ticket as lost and arrives
// as a gap of one frame, in its place (it travels as a frame of KindVoid);
// delay keeps the order of each lane; a cut looks like a link that is down. So
// the conformance suite holds for wrapped ports too, but for the lines that say
// that nothing is lost.
//
// # What a decorator can do, and what it cannot
//
//   - Drop, Corrupt: the frame is lost. Corrupt flips a bit of its encoding and
//     insists that the decoder notices.
//   - Delay, Jitter: the frame is held back before the port sees it, and with
//     it what follows in its lane. Reorder: the same for some frames, so that
//     other lanes overtake.
//   - Handling: the receiver takes that long for each frame.
//   - Cut: frames that are offered are refused with ErrLinkDown at both ends,
//     since no port goes on without acks; rows are withheld in the direction
//     that is cut only. What the port had accepted before still arrives.
//   - Kill: the member says and hears nothing any more, and its port is closed
//     behind its back. A port says goodbye when it is closed: peers may notice
//     sooner than they would notice a crash.
//   - Wire: loss, duplicates and damage below the port's own repair can only be
//     made by the port itself, if it implements [WireFaulter].
//
// All decisions come from one seed. With one goroutine and a virtual clock the
// run is the same each time; with real ports the same frames meet the same fate
// only as far as they are sent in the same order.
package fault
