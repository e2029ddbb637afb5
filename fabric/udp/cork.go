package udp

import (
	"time"

	"github.com/raftdv/dv/fabric"
)

// A sender that hands over frames faster than datagrams leave one by one should
// fill them: a datagram costs as much as fifty frames. So content waits for
// company while a batch of some size is under way, as Nagle's algorithm has it
// (RFC 896), but for an acknowledgement that was asked for at once: a round
// trip, not an ackDelay. What comes alone finds nothing under way and leaves at
// once, and the control lane and rows never wait.
const (
	// corkFrom frames accepted between two batches show that they come faster
	// than that. Bytes would not: frames that are large gain nothing.
	corkFrom = 6
	// corkFull bytes that wait are company enough.
	corkFull = 24 << 10
	// corkFor bounds the wait when the acknowledgement does not come.
	corkFor = 4 * time.Millisecond
)

// cork says for what content waits.
type cork struct {
	number uint64 // packet; 0: nothing (the first packets of a session carry no content)
	until  int64
	fresh  int // frames accepted since the last batch
}

// corked reports whether content should wait for company.
func (l *link) corked(now int64) bool {
	return l.cork.number != 0 && now < l.cork.until && l.queuedBytes() < corkFull && !l.out[fabric.LaneControl].pending()
}

// beginBatch decides whether the content of a batch may leave.
func (l *link) beginBatch(now int64) {
	if now >= l.cork.until {
		l.cork.number = 0
	}
	l.waits = l.corked(now)
}

// endBatch notes that a batch was built, and reports whether its last datagram
// should be acknowledged at once.
func (l *link) endBatch(now int64) (askAck bool) {
	if l.waits || l.phase != phaseUp {
		return false
	}
	askAck = l.cork.fresh >= corkFrom
	l.cork.fresh = 0
	if askAck {
		l.cork.number, l.cork.until = l.sent.next()-1, now+int64(corkFor)
		l.asked = 0
	}
	return askAck
}

// uncork takes the largest packet number that was acknowledged.
func (l *link) uncork(largest uint64) {
	if largest >= l.cork.number {
		l.cork.number = 0
	}
}
