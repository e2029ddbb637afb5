package bench

import (
	"context"
	"fmt"
	"time"
)

// maxLatencies bounds what one client keeps of a measurement.
const maxLatencies = 1 << 18

// client proposes one entry after the other: the next one when the leader has
// applied the last.
type client struct {
	id, size int
	seq      uint64 // of the proposal under way, or the last
	done     chan applied
	// latencies in µs of what began after from.
	latencies []float64
	from      time.Time
}

// applied tells a client that the leader has applied its proposal.
type applied struct {
	seq uint64
	at  time.Time
}

func newClient(id, size int) *client {
	return &client{id: id, size: size, done: make(chan applied, 1)}
}

// acknowledge is called by the leader's loop. A client that waits has room for
// the news; there is more of it only if a proposal is applied twice.
func (g *raftGroup) acknowledge(data []byte) {
	id, seq := parseProposal(data)
	if id >= uint64(len(g.clients)) {
		return // the history has complained
	}
	select {
	case g.clients[id].done <- applied{seq, time.Now()}:
	default:
		g.fail(fmt.Errorf("proposal %d of client %d was applied when nobody waited for it", seq, id))
	}
}

// run proposes until the context of a measurement says enough.
func (c *client) run(ctx context.Context, g *raftGroup, enough func() bool) error {
	for !enough() {
		c.seq++
		data := proposal(c.id, c.seq, c.size)
		begin := time.Now()
		if err := g.leading().node.Propose(ctx, data); err != nil {
			return fmt.Errorf("propose: %w", err)
		}
		select {
		case a := <-c.done:
			if a.seq != c.seq {
				return fmt.Errorf("client %d was told of proposal %d while %d was under way", c.id, a.seq, c.seq)
			}
			c.note(begin, a.at)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (c *client) note(begin, end time.Time) {
	if !begin.Before(c.from) && len(c.latencies) < maxLatencies {
		c.latencies = append(c.latencies, float64(end.Sub(begin).Nanoseconds())/1e3)
	}
}
