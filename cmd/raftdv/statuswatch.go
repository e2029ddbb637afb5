package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/admin"
	"github.com/raftdv/dv/raftdv/admin/adminpb"
)

// watchRetry is the pause before a member that is gone is asked again.
const watchRetry = time.Second

// A watcher prints what happens at many endpoints. Lines do not mix.
type watcher struct {
	*asker
	mu sync.Mutex // guards w
	w  io.Writer
}

func newWatcher(a *asker, w io.Writer) *watcher { return &watcher{asker: a, w: w} }

// watchLine is one line of JSON output: one of the fields is set.
type watchLine struct {
	Endpoint string         `json:"endpoint"`
	Members  []raftdv.State `json:"members,omitempty"`
	Event    *raftdv.Event  `json:"event,omitempty"`
	Missed   uint64         `json:"missed,omitempty"`
	Error    string         `json:"error,omitempty"`
}

// run ends when it is interrupted, without an error, or when there is no
// endpoint that can be watched.
func (w *watcher) run(ctx context.Context) error {
	errs := make([]error, len(w.endpoints))
	var wg sync.WaitGroup
	for i, e := range w.endpoints {
		wg.Go(func() { errs[i] = w.follow(ctx, e) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// follow watches one endpoint, again and again.
func (w *watcher) follow(ctx context.Context, endpoint string) error {
	for said := ""; ctx.Err() == nil; {
		err := w.watch(ctx, endpoint, &said)
		switch {
		case ctx.Err() != nil:
			return nil
		case status.Code(err) == codes.Unimplemented:
			return fmt.Errorf("%s: it has no admin API: either this is stock etcd, or the URL is none of --listen-client-urls and --listen-metrics-urls", endpoint)
		case err.Error() != said: // once, however long it is away
			said = err.Error()
			w.print(watchLine{Endpoint: endpoint, Error: said})
		}
		select {
		case <-time.After(watchRetry):
		case <-ctx.Done():
		}
	}
	return nil
}

// watch prints the state and then events until something fails.
func (w *watcher) watch(ctx context.Context, endpoint string, said *string) error {
	members, last, err := w.askAdmin(ctx, endpoint)
	if err != nil {
		return err
	}
	*said = ""
	w.print(watchLine{Endpoint: endpoint, Members: members})
	conn, err := w.dial(endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := adminpb.NewAdminClient(conn).Watch(ctx, &adminpb.WatchRequest{After: last})
	for err == nil {
		var r *adminpb.WatchResponse
		if r, err = stream.Recv(); err != nil {
			break
		}
		if e := r.GetEvent(); e != nil {
			event := admin.ToEvent(e)
			w.print(watchLine{Endpoint: endpoint, Event: &event})
		}
		if r.GetMissed() > 0 {
			w.print(watchLine{Endpoint: endpoint, Missed: r.GetMissed()})
		}
	}
	return err
}

func (w *watcher) print(l watchLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.cfg.json:
		json.NewEncoder(w.w).Encode(l)
	case l.Event != nil:
		fmt.Fprintf(w.w, "%s member %s: %s\n", l.Event.Time.Local().Format("15:04:05.000"), l.Event.Member, l.Event)
	case l.Missed > 0:
		fmt.Fprintf(w.w, "%s: %d events were missed\n", l.Endpoint, l.Missed)
	case l.Error != "":
		fmt.Fprintf(w.w, "%s: cannot be watched: %s\n", l.Endpoint, l.Error)
	default:
		writeStatus(w.w, []endpointStatus{{Endpoint: l.Endpoint, Members: l.Members}}, time.Now())
	}
}
