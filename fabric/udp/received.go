package udp

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// replayWindow is the number of packet numbers below the largest that are
// remembered one by one; older ones are refused unseen. It exceeds maxSpan, so
// that a sender's outstanding packets are never refused.
const replayWindow = 1 << 14

// received is what one direction's receiver knows of packet numbers: which ones
// came (replay protection is exact), and what is to be acknowledged.
type received struct {
	bits    [replayWindow / 64]uint64
	next    uint64 // largest + 1; 0: none yet
	run     uint64 // start of the run of packets that ends with the largest
	largeAt int64  // when the largest came

	pending int   // packets that want an ack and have none
	ackNow  bool  // do not wait for ackAt
	ackAt   int64 // when the ack is due, if pending
}

func (r *received) has(n uint64) bool {
	return r.bits[n/64%uint64(len(r.bits))]&(1<<(n%64)) != 0
}

// fresh reports whether packet n was not seen before.
func (r *received) fresh(n uint64) bool {
	return n >= r.next || (n+replayWindow >= r.next && !r.has(n))
}

// add notes packet n, which is fresh.
func (r *received) add(n uint64, now int64) {
	if n >= r.next {
		r.clear(n)
		if n != r.next {
			r.run = n
		}
		r.next, r.largeAt = n+1, now
		r.bits[n/64%uint64(len(r.bits))] |= 1 << (n % 64)
		return
	}
	r.bits[n/64%uint64(len(r.bits))] |= 1 << (n % 64)
	if n+1 == r.run {
		r.run = r.runFrom(n)
	}
}

// clear forgets the numbers that n pushes out of the window.
func (r *received) clear(n uint64) {
	if n-r.next >= replayWindow {
		clear(r.bits[:])
		return
	}
	for i := r.next; i <= n; {
		if i%64 == 0 && n-i >= 63 {
			r.bits[i/64%uint64(len(r.bits))] = 0
			i += 64
			continue
		}
		r.bits[i/64%uint64(len(r.bits))] &^= 1 << (i % 64)
		i++
	}
}

func (r *received) floor() uint64 {
	if r.next > replayWindow {
		return r.next - replayWindow
	}
	return 0
}

// runFrom returns the start of the run of received packets that ends with n.
func (r *received) runFrom(n uint64) uint64 {
	floor := r.floor()
	for n > floor {
		word := ^r.bits[(n-1)/64%uint64(len(r.bits))] << (63 - (n-1)%64)
		k := uint64(bits.LeadingZeros64(word))
		if k > (n-1)%64 { // the rest of the word
			k = (n-1)%64 + 1
			if n-floor <= k {
				return floor
			}
			n -= k
			continue
		}
		return max(n-k, floor)
	}
	return n
}

// below returns the largest received packet below n.
func (r *received) below(n uint64) (uint64, bool) {
	for floor := r.floor(); n > floor; {
		word := r.bits[(n-1)/64%uint64(len(r.bits))] << (63 - (n-1)%64)
		k := uint64(bits.LeadingZeros64(word))
		if k <= (n-1)%64 {
			n -= k + 1
			return n, n >= floor
		}
		if k = (n-1)%64 + 1; n < k {
			break
		}
		n -= k
	}
	return 0, false
}

// wantAck notes that packet n, just added, wants an acknowledgement (RFC 9000
// §13.2.1): at once if it says so, came out of order, or is one of the first
// after a hole, so that the sender's packet threshold is reached; else within
// delay.
func (r *received) wantAck(n uint64, now int64, asked bool, delay time.Duration) {
	if r.pending == 0 {
		r.ackAt = now + int64(delay)
	}
	r.pending++
	outOfOrder := n+1 != r.next || r.run > 0 && n-r.run < packetThreshold
	if asked || outOfOrder || r.pending >= ackEvery {
		r.ackNow = true
	}
}

// due reports whether an ack is to be sent now.
func (r *received) due(now int64) bool {
	return r.pending > 0 && (r.ackNow || now >= r.ackAt)
}

// appendAck appends an ack chunk of at most maxAckLen bytes and resets what is
// due. Nothing is appended before the first packet.
func (r *received) appendAck(dst []byte, now int64) []byte {
	if r.next == 0 {
		return dst
	}
	dst = append(dst, chunkAck)
	dst = binary.AppendUvarint(dst, uint64(max(now-r.largeAt, 0)/1000))
	dst = binary.AppendUvarint(dst, r.next-1)
	countAt := len(dst)
	dst = append(dst, 0)
	dst = binary.AppendUvarint(dst, r.next-1-r.run)
	low := r.run
	for range maxAckRanges - 1 {
		hi, ok := r.below(low)
		if !ok {
			break
		}
		lo := r.runFrom(hi)
		dst = binary.AppendUvarint(dst, low-2-hi)
		dst = binary.AppendUvarint(dst, hi-lo)
		dst[countAt]++
		low = lo
	}
	r.pending, r.ackNow = 0, false
	return dst
}
