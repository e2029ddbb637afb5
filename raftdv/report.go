package raftdv

import (
	"time"
)

// reportEvery bounds how often raft is told that a peer is unreachable: once
// is enough to make it probe, and the last loss of a burst is always reported.
const reportEvery = 50 * time.Millisecond

// reporter tells raft of losses, outside of the goroutine that found them: it
// may be raft's own.
type reporter struct {
	p    *peer
	lost chan struct{} // holds one: a loss that was not reported yet
}

func (r *reporter) init(p *peer) { r.p, r.lost = p, make(chan struct{}, 1) }

func (r *reporter) note() {
	select {
	case r.lost <- struct{}{}:
	default:
	}
}

func (r *reporter) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-r.p.ctx.Done():
			return
		}
		select {
		case <-r.lost:
			r.p.t.Raft.ReportUnreachable(uint64(r.p.id))
		case <-r.p.ctx.Done():
			return
		}
		pause.Reset(reportEvery)
	}
}
