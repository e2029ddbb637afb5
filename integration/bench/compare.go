package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// comparisons are those of one run.
type comparisons[C fmt.Stringer, R any] struct {
	cells    []C
	pairs    int
	sealed   string
	estimate time.Duration
	progress func(format string, args ...any)
	run      func(context.Context, C, *transport.TLSInfo) (R, error)
}

// make makes them one after the other. One that fails does not keep the others
// from being made; the error names all that did.
func (c *comparisons[C, R]) make(ctx context.Context, report func(R)) error {
	certs, remove, err := certificates(c.sealed != Clear)
	if err != nil {
		return err
	}
	defer remove()
	c.progress("%d comparisons of %d pairs, about %v", len(c.cells), c.pairs, c.estimate.Round(time.Second))
	left := newETA(len(c.cells), c.estimate)
	var errs []error
	for i, cell := range c.cells {
		c.progress("%d/%d: %v; %s", i+1, len(c.cells), cell, left.next())
		r, err := c.run(ctx, cell, certs)
		switch {
		case ctx.Err() != nil:
			return errors.Join(append(errs, context.Cause(ctx))...)
		case err != nil:
			errs = append(errs, fmt.Errorf("%v: %w", cell, err))
		default:
			report(r)
		}
	}
	return errors.Join(errs...)
}
