package raftdv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxWays bounds the members that are asked for one relay.
	maxWays = 4
	// wayAfter is how long one of them may take before the next one is asked, too: it
	// may be gone, and nobody knows yet.
	wayAfter = 50 * time.Millisecond
)

var errNoWay = errors.New("nobody that this member is linked with reaches it")

// firstWay has try open something by way of one member after the other: the next one
// when one has failed, or taken wayAfter. It returns the first that is there. try has
// to end soon when ctx does, which is when firstWay returns; what it opened too late
// is closed. wg, which is not waited for yet, counts tries that outlive firstWay.
func firstWay[T io.Closer](ctx context.Context, wg *sync.WaitGroup, ways []*peer, try func(ctx context.Context, via *peer) (T, error)) (first T, err error) {
	if len(ways) == 0 {
		return first, errNoWay
	}
	ways = ways[:min(len(ways), maxWays)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	won, failed, over := make(chan T), make(chan error), make(chan struct{})
	defer close(over)
	start := func(via *peer) {
		wg.Go(func() {
			c, err := try(ctx, via)
			if err != nil {
				select {
				case failed <- fmt.Errorf("by way of %s: %w", via.id, err):
				case <-over:
				}
				return
			}
			select {
			case won <- c:
			case <-over:
				c.Close()
			}
		})
	}
	next := time.NewTimer(wayAfter)
	defer next.Stop()
	var faults []error
	start(ways[0])
	started := 1
	for {
		select {
		case first = <-won:
			return first, nil
		case err := <-failed:
			if faults = append(faults, err); len(faults) == len(ways) {
				return first, errors.Join(faults...)
			}
		case <-next.C:
		}
		if started < len(ways) {
			start(ways[started])
			started++
			next.Reset(wayAfter)
		}
	}
}
